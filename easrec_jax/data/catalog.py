"""Known public data sets: where they officially are, their checksum, citation and terms, and a downloader.

Nothing is redistributed: `fetch` downloads from the official address into a cache folder of the user.
"""

from __future__ import annotations

import gzip
import os
import shutil
import sys
import tempfile
import zipfile
import zlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from easrec_jax.data.interactions import Interactions
from easrec_jax.data.read import read_interactions

MOVIELENS = "https://files.grouplens.org/datasets/movielens/"
SASREC = "https://raw.githubusercontent.com/kang205/SASRec/641c378fcfac265ea8d1e5fe51d4d53eb892d1b4/data/"
SASREC_CITATION = (
    ". Prepared by: Wang-Cheng Kang and Julian McAuley. 2018. Self-Attentive Sequential Recommendation. ICDM 2018"
)
MOVIELENS_CITATION = (
    "F. Maxwell Harper and Joseph A. Konstan. 2015. The MovieLens Datasets: History and Context. "
    "ACM Transactions on Interactive Intelligent Systems 5, 4, Article 19. https://doi.org/10.1145/2827872"
)
MOVIELENS_TERMS = (
    "research use with acknowledgement; no redistribution and no commercial use without permission of GroupLens "
    "(see the README in the archive)"
)


@dataclass(frozen=True)
class Entry:
    """One known data set."""

    name: str
    url: str
    citation: str
    terms: str
    member: str = ""  # file inside the .zip archive; "": the download itself, unpacked if it ends in .gz
    sha256: str | None = None  # of the download; None: unknown, then fetch says that it is unverified
    options: dict[str, Any] = field(default_factory=dict)  # keyword arguments of read_interactions


CATALOG = {
    entry.name: entry
    for entry in (
        Entry(
            "ml-100k",
            MOVIELENS + "ml-100k.zip",
            MOVIELENS_CITATION,
            MOVIELENS_TERMS,
            member="ml-100k/u.data",
            sha256="50d2a982c66986937beb9ffb3aa76efe955bf3d5c6b761f4e3a7cd717c6a3229",
            options={"format": "movielens"},
        ),
        Entry(
            "ml-1m",
            MOVIELENS + "ml-1m.zip",
            MOVIELENS_CITATION,
            MOVIELENS_TERMS,
            member="ml-1m/ratings.dat",
            sha256="a6898adb50b9ca05aa231689da44c217cb524e7ebd39d264c56e2832f2c54e20",
            options={"format": "movielens"},
        ),
        Entry(
            "ml-1m-sasrec",
            SASREC + "ml-1m.txt",
            MOVIELENS_CITATION + SASREC_CITATION,
            MOVIELENS_TERMS,
            sha256="b725f3acb3986fe3130bffd1e77a74d182a1f51799567a236dbd60270f95b0a2",
            options={"format": "pairs"},
        ),
        Entry(
            "ml-20m",
            MOVIELENS + "ml-20m.zip",
            MOVIELENS_CITATION,
            MOVIELENS_TERMS,
            member="ml-20m/ratings.csv",
            sha256="96f243c338a8665f6bcc89c53edf6ee39162a846940de6b7c8c48aeada765ff3",
            options={"format": "csv"},
        ),
        Entry(
            "amazon-video-games",
            SASREC + "Video.txt",
            "Julian McAuley, Christopher Targett, Qinfeng Shi and Anton van den Hengel. 2015. Image-Based "
            "Recommendations on Styles and Substitutes. SIGIR 2015" + SASREC_CITATION,
            "none are stated with the file, which was published for research with the SASRec code",
            sha256="b7376fe24430743f411dc7f567285657b2adb3f74361cc7ba0aee94f3024b651",
            options={"format": "pairs"},
        ),
        Entry(
            "amazon-beauty",
            "https://raw.githubusercontent.com/aHuiWang/CIKM2020-S3Rec/master/data/Beauty.txt",
            "Julian McAuley, Christopher Targett, Qinfeng Shi and Anton van den Hengel. 2015. Image-Based "
            "Recommendations on Styles and Substitutes. SIGIR 2015. Prepared by: Kun Zhou et al. 2020. S3-Rec: "
            "Self-Supervised Learning for Sequential Recommendation with Mutual Information Maximization. CIKM 2020",
            "none are stated with the file, which was published for research with the S3-Rec code",
            sha256="226cce9c3105299ca0db9615d7d3fb32b3175e90da43100ae352599f0f0107b8",
            options={"format": "lists"},
        ),
        Entry(
            "gowalla",
            "https://snap.stanford.edu/data/loc-gowalla_totalCheckins.txt.gz",
            "Eunjoon Cho, Seth A. Myers and Jure Leskovec. 2011. Friendship and Mobility: User Movement in "
            "Location-Based Social Networks. KDD 2011. https://snap.stanford.edu/data/loc-gowalla.html",
            "none are stated; cite the paper",
            options={"format": "headerless", "user_column": "1", "item_column": "5", "time_column": "2"},
        ),
    )
}


def find(name: str) -> Entry:
    """The entry of that name."""
    if name not in CATALOG:
        raise ValueError(f"unknown data set {name!r}, expected one of {', '.join(CATALOG)}")
    return CATALOG[name]


def load(name: str, cache_dir: str | Path | None = None, **options: Any) -> Interactions:
    """Fetch and read a known data set; `options` of `read_interactions` go before those of the entry."""
    return read_interactions(fetch(name, cache_dir), **(find(name).options | options))


def fetch(name: str, cache_dir: str | Path | None = None, url: str | None = None) -> Path:
    """The file of interactions of a known data set, downloaded (from `url` if given, a mirror) unless it is there.

    Default folder: `pooch.os_cache("easrec_jax")`. ValueError: unknown name, wrong checksum or archive (the download is
    then deleted); OSError: no connection or no such address; ImportError: pooch is missing.
    """
    return fetch_entry(find(name), cache_dir, url)


def fetch_entry(entry: Entry, cache_dir: str | Path | None = None, url: str | None = None) -> Path:
    """`fetch` of any entry, also one of the user's own."""
    try:
        import pooch
    except ImportError as error:
        raise ImportError('downloading needs pooch: pip install "easrec_jax[download]"') from error
    folder = Path(cache_dir or pooch.os_cache("easrec_jax")).expanduser() / entry.name
    archive = folder / Path(entry.url).name
    target = folder / (Path(entry.member).name if entry.member else archive.name.removesuffix(".gz"))
    if target.exists():
        return target
    source = url or entry.url
    known = f"sha256:{entry.sha256}" if entry.sha256 else None
    try:
        pooch.retrieve(source, known, fname=archive.name, path=folder)
    except ValueError as error:
        raise ValueError(f"{entry.name}: {source} is not the expected file, try again later: {error}") from error
    describe(entry, archive, pooch.file_hash(str(archive)))
    try:
        unpack(archive, entry.member, target)
    except (zipfile.BadZipFile, gzip.BadGzipFile, zlib.error, EOFError, KeyError) as error:
        archive.unlink()
        raise ValueError(f"{entry.name}: {source} is no archive with {target.name}, deleted it: {error}") from error
    return target


def describe(entry: Entry, archive: Path, sha256: str) -> None:
    """Say on stderr what was downloaded, whether its checksum was verified, and how it may be used."""
    state = "verified" if entry.sha256 else "UNVERIFIED, no official checksum is known to this catalogue"
    print(f"{entry.name}: {archive}\n  sha256 {sha256} ({state})", file=sys.stderr)
    print(f"  terms: {entry.terms}\n  cite: {entry.citation}", file=sys.stderr)


def unpack(archive: Path, member: str, target: Path) -> None:
    """Write the member of a .zip, or the content of a .gz, to `target`: whole or not at all."""
    if archive == target:
        return
    handle, partial = tempfile.mkstemp(dir=target.parent, prefix=target.name)
    try:
        with os.fdopen(handle, "wb") as output:
            if member:
                with zipfile.ZipFile(archive) as zipped, zipped.open(member) as source:
                    shutil.copyfileobj(source, output)
            else:
                with gzip.open(archive) as source:
                    shutil.copyfileobj(source, output)
        os.chmod(partial, 0o644)
        os.replace(partial, target)
    except BaseException:
        os.unlink(partial)
        raise
