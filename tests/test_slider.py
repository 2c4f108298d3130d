"""The sizes of an elastic model on pages: a point a size, SASRec's cost, and a slider that works without a server."""

from __future__ import annotations

from xml.etree import ElementTree

from elastic import FRONT, save_elastic, save_routed

from easrec_jax.config import Config
from easrec_jax.config_files import to_json
from easrec_jax.runs.page import write_page
from easrec_jax.runs.picture import architecture_svg, read_drawn
from easrec_jax.runs.records import read_runs
from easrec_jax.runs.slider import SCRIPT, size_label, sizes_svg
from easrec_jax.runs.tables import sizes_table

ENTRIES = [size.entry for size in FRONT]
SVG = "{http://www.w3.org/2000/svg}"


def test_the_picture_has_a_point_a_size_and_the_cost_of_sasrec():
    root = ElementTree.fromstring(sizes_svg(ENTRIES))
    points = root.findall(f"{SVG}circle")
    assert [point.get("data-label") for point in points] == [size_label(entry) for entry in ENTRIES]
    places = [(float(point.get("cx", "")), -float(point.get("cy", ""))) for point in points]
    assert places == sorted(places) and [up for _, up in places] == sorted(up for _, up in places)
    texts = [text.text for text in root.findall(f"{SVG}text")]
    assert "SASRec, 0.10" in texts and "0.300" in texts and "0.500" in texts
    assert ElementTree.fromstring(sizes_svg(ENTRIES[:1])).find(f"{SVG}circle") is not None  # no span to divide by


def test_a_label_says_the_network_its_cost_and_its_figures():
    assert size_label(ENTRIES[1]) == (
        "2 layers x width 8; 0.02 MFLOPs, 20.3% of SASRec's; 0.010 ms a user, measured; NDCG@10 0.4000 on validation items, "
        "0.3900 on test items; --budget 0.1571"
    )
    table = sizes_table(ENTRIES).splitlines()
    assert len(table) == 4 and table[2].split()[:3] == ["2", "x", "8/12"] and "0.3900" in table[2]


def test_a_report_slides_offline(tmp_path):
    for name in ("one", "two"):
        save_elastic(tmp_path / name / "model")
    write_page(read_runs([tmp_path / "one", tmp_path / "two"], latency=False), tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text()
    for number in (0, 1):  # sliders of their own
        assert page.count(f'<input type="range" id="sizes-{number}" min="0" max="2" step="1" value="2">') == 1
        assert f'<label for="sizes-{number}">' in page and f"getElementById('sizes-{number}')" in page
    assert page.count(SCRIPT) == 2 and "src=" not in page.replace('src="data:', "")
    assert page.count("<circle") == 6


def test_a_report_says_who_gets_which_size(tmp_path):
    save_routed(tmp_path / "run" / "model")
    write_page(read_runs([tmp_path / "run"], latency=False), tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text()
    assert page.count("33%") == 6 and "1 to 8 events" in page
    assert "Mean FLOPs 0.250 of the largest network&#x27;s" in page and "full 0.5000" in page


def test_a_report_of_other_models_has_no_slider(tmp_path):
    save_elastic(tmp_path / "run" / "model", ())
    (tmp_path / "run" / "model" / "config.json").write_text(to_json(Config()))
    write_page(read_runs([tmp_path / "run"], latency=False), tmp_path / "report.html")
    assert 'type="range"' not in (tmp_path / "report.html").read_text()


def test_the_picture_of_a_size_shows_what_the_largest_has_more(tmp_path):
    folder = save_elastic(tmp_path / "model")
    drawn = read_drawn(folder, 30, FRONT[0].results({})["architecture"])
    text = " ".join(ElementTree.fromstring(architecture_svg(drawn)).itertext())
    assert "one size of an elastic network" in text and "width 8" in text and "found by the search" not in text
    largest = " ".join(ElementTree.fromstring(architecture_svg(read_drawn(folder, 30))).itertext())
    assert "width 16" in largest and "one size of an elastic network" in largest
