"""The report's curves of a run: of one that goes on, that broke, that took one step, that has many layers."""

import json
import math

import lxml.html
import pytest

from jobs.report import render


def row(step, **changed):
    found = {"step": step, "tokens": step * 16, "loss": 9.0 - step / 100, "mtp_loss": 9.2 - step / 100, "lr": 1e-3,
             "grad_norm": 1.0, "tokens_per_second": 1e3, "max_violation": [1.0, 0.5],
             "expert_load": [[8, 8, 0, 16]] * 2}  # fmt: skip
    return found | changed


def heldout(step, source, loss):
    return {"step": step, "tokens": step * 16, "source": source, "heldout_loss": loss, "heldout_tokens": 100}


def section(folder, rows):
    (folder / "run").mkdir()
    (folder / "run" / "_running.json").write_text("{}")
    (folder / "run" / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (found,) = lxml.html.document_fromstring(render(str(folder))).xpath("//section[@id='training']")
    assert not found.xpath(".//*[contains(., 'can not be shown')]")
    return found


def chart(found, title):
    (figure,) = [
        figure for figure in found.xpath(".//figure") if figure.xpath("./figcaption")[0].text == title
    ]
    return figure


def legend(found, title):
    return [item.text_content() for item in chart(found, title).xpath("./ul/li")]


def cells(found, title):
    return [[cell.text_content() for cell in row] for row in chart(found, title).xpath(".//tbody/tr")]


def test_a_run_in_progress_of_one_step(tmp_path):
    found = section(tmp_path, [heldout(0, "math", 9.05), row(1)])
    assert legend(found, "Training loss") == ["next token 8.990", "the token after (MTP) 9.190"]
    assert cells(found, "Training loss") == [["1", "8.990", "9.190"]]
    assert cells(found, "Held-out loss") == [["0", "9.050"]]
    assert len(found.xpath(".//*[local-name()='svg'][@class='strip'][@role='img']")) == 4


def test_a_loss_that_is_no_number_is_said_and_leaves_a_gap(tmp_path):
    """Also in a group of steps whose other losses are numbers."""
    bad = {"loss": math.nan, "grad_norm": math.inf}
    rows = [row(step, **(bad if 100 <= step < 200 else {})) for step in range(1, 601)]
    found = section(tmp_path, rows)
    (said,) = found.xpath("./p[@role='note']")
    assert said.text_content() == "The loss of 100 steps is no number, first at step 100."
    (path,) = chart(found, "Training loss").xpath("./svg//*[@stroke='var(--s1)']")
    assert path.get("d").count("M") == 2
    assert legend(found, "Training loss")[0].startswith("next token 3.010 (33 of 200 points are no numbers)")
    assert "nan" not in found.text_content().lower() and "inf " not in found.text_content()


def test_nothing_but_losses_that_are_no_numbers(tmp_path):
    found = section(tmp_path, [row(step, loss=math.nan) for step in range(1, 4)])
    assert legend(found, "Training loss") == ["the token after (MTP) 9.170"]
    assert "The loss of 3 steps is no number" in found.text_content()


def test_many_layers_have_a_map_and_three_lines(tmp_path):
    def violations(step):
        return [layer / 58 * (1 - step / 1000) for layer in range(1, 59)]

    found = section(tmp_path, [row(step, max_violation=violations(step)) for step in range(1, 481)])
    assert [item.split(" layer ")[0] for item in legend(found, "Load of the experts: MaxVio")] == [
        "worst", "median", "best"]  # fmt: skip
    table = cells(found, "MaxVio of each layer")
    assert len(table[0]) == 1 + 58 and table[0][0] == "10" and table[-1][0] == "480"
    worst = sum(violations(step)[-1] for step in range(471, 481)) / 10
    assert table[-1][-1] == f"{worst:.2f}"
    assert len(lxml.html.tostring(found)) < 150_000


@pytest.mark.parametrize("layers", [65, 200])
def test_more_layers_than_rows_share_one_with_their_neighbours(tmp_path, layers):
    found = section(tmp_path, [row(step, max_violation=[1.0] * (layers - 1) + [2.0]) for step in (1, 2)])
    (title,) = [caption.text for caption in found.xpath(".//figcaption") if caption.text.startswith("MaxVio")]
    assert title == f"MaxVio of each layer, of {-(-layers // 64)} neighbours the greatest"
    head = [cell.text_content() for cell in chart(found, title).xpath(".//thead//th")]
    assert len(head) <= 65 and head[1:3] == ["1", str(1 + -(-layers // 64))]
    assert cells(found, title)[-1][-1] == "2.00"


def test_more_sources_than_lines_are_counted(tmp_path):
    rows = [row(1), row(2)] + [
        heldout(step, f"source {k:02d}", 9.0 - step) for k in range(20) for step in (0, 2)
    ]
    found = section(tmp_path, rows)
    assert legend(found, "Held-out loss")[-1] == "and 8 more, not drawn"
