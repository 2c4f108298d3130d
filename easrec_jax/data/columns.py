"""Which columns hold users, items and times: the names that are usual, whatever their case, blanks and underscores."""

from __future__ import annotations

import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

words = str.split
# The usual names, the surest first. Never one that also names a rating, a count or a duration.
USERS = words("""user_id user uid customer_id customer visitor_id visitor reviewer_id reviewer client_id client member_id member
    account_id account profile_id person_id buyer_id listener_id reader_id viewer_id player_id subscriber_id guest_id
    user_name user_hash user_sha1 msno session_id session device_id cookie_id query_id""")
ITEMS = words("""item_id item iid movie_id product_id parent_asin asin sku stock_code article_id track_id song_id video_id book_id
    isbn game_id app_id news_id business_id gmap_id venue_id poi_id location_id place_id recipe_id content_id document_id
    course_id job_id offer_id goods_id anime_id artist_id movie product article track song video book game""")
TIMES = words("""timestamp time ts datetime date_time date event_time event_timestamp event_ts event_date event_datetime
    unix_time unix_timestamp unix_review_time time_stamp timestamp_ms timestamp_s time_ms epoch epoch_ms rating_timestamp
    rating_time rating_date review_timestamp review_time review_date interaction_time interaction_timestamp action_time
    created_at created create_time created_time creation_time click_time click_timestamp clicked_at view_time viewed_at
    watched_at played_at listened_at purchase_time purchase_date purchased_at order_time order_date order_timestamp
    ordered_at invoice_date transaction_time transaction_date t_dat tdate visit_time check_in_time occurred_at
    server_time utc_time logged_at local_time date_created""")
HISTORIES = words("history items item_ids item_list item_id_list item_sequence sequence")


def plain(name: str) -> str:
    """The name in lower case without blanks and signs: userId, User ID and user_id are one."""
    return re.sub(r"[\W_]+", "", name.lower())


@dataclass(frozen=True)
class Columns:
    """The names of the user, item and time columns (time "": there is none, row order counts).

    Where a row is a user, `history` names its list of items, and `item` and `time` are "". Of columns that are asked for
    "" leaves the choice to the usual names.
    """

    user: str = ""
    item: str = ""
    time: str = ""
    history: str = ""


def excerpt(value: object) -> str:
    """What a file holds, for a message: a field may be of any length."""
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def usual(names: Sequence[str], candidates: Sequence[str]) -> str:
    """The first of the usual names (`candidates`) that is among `names`, as it is spelled there; "" if none is."""
    spelled = {plain(name): name for name in reversed(names)}
    return next((spelled[plain(name)] for name in candidates if plain(name) in spelled), "")


def are_named(names: Sequence[str], asked: Columns) -> bool:
    """Whether these fields are a header: the names of a user and an item or history column are among them."""
    user = asked.user in names if asked.user else bool(usual(names, USERS))
    thing = asked.item or asked.history
    return user and (thing in names if thing else bool(usual(names, ITEMS + HISTORIES)))


def choose_columns(path: Path | str, names: Sequence[str], asked: Columns, *, header: bool = True) -> Columns:
    """The columns that were asked for, else the usual ones; without a header the first two. Only time may be absent."""
    found = f"the file has the columns {', '.join(map(excerpt, names[:20]))}"
    if asked.item and asked.history:
        raise ValueError(f"{path}: expected either item_column or history_column, got both")

    def choose(role: str, wanted: str, candidates: Sequence[str]) -> str:
        if wanted and wanted not in names:
            raise ValueError(f"{path}: there is no {role} column {wanted!r}; {found}")
        chosen = wanted or usual(names, candidates)
        if not chosen and role in ("user", "item"):
            flags = f"{role}_column names it, and separator what parts them; format=headerless: there is no header"
            raise ValueError(
                f"{path}: no {role} column, expected one of {', '.join(candidates[:6])}, ...; {found}; {flags}"
            )
        return chosen

    user = choose("user", asked.user, USERS if header else ["1"])
    history = choose("history", asked.history, []) if not asked.item else ""
    if header and not (asked.item or history):
        likely = usual(names, HISTORIES)
        history = likely if plain(likely) == "history" or not usual(names, ITEMS) else ""
    if history:
        if history == user:
            raise ValueError(f"{path}: user and history need different columns, got {user!r} for both")
        return Columns(user, "", "", history)
    item = choose("item", asked.item, ITEMS if header else ["2"])
    time = choose("time", asked.time, TIMES if header else [])
    if len({user, item, time}) < 3:
        raise ValueError(f"{path}: user, item and time need different columns, got {user!r}, {item!r}, {time!r}")
    return Columns(user, item, time)


def warn_of_unused(path: Path | str, names: Sequence[str], chosen: Columns) -> None:
    """Warn where no time is read although columns are left over that might hold one."""
    unused = [name for name in names if name not in (chosen.user, chosen.item)]
    if unused and not chosen.time and not chosen.history:
        left = ", ".join(map(excerpt, unused[:20]))
        warnings.warn(
            f"{path}: no time column is known among {left}: the row order counts as the time order; time_column names one "
            f"(read: user {excerpt(chosen.user)}, item {excerpt(chosen.item)})",
            stacklevel=4,
        )
