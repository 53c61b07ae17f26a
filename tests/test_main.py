"""The demo."""

import numpy as np
import pytest
import torch

import skensemble.__main__ as demo

PNG = b"\x89PNG\r\n\x1a\n"


def quick(*more):
    return demo.main(["--quick", "--members", "2", *more])


def test_prints_every_row_and_writes_the_picture(tmp_path, capsys):
    pytest.importorskip("matplotlib")
    picture = tmp_path / "demo.png"
    assert quick("--out", str(picture)) == 0
    lines = capsys.readouterr().out.splitlines()
    said = [line for line in lines if line.startswith(("the student", "the ensemble"))]
    assert len(said) == 2
    lines = [line for line in lines if line not in said]
    digits = [name for name, _ in demo.methods(2, 0, 2)]
    table = [name for name, _ in demo.table_methods(2, 0)]
    assert [line[:22].strip() for line in lines] == [
        lines[0][:22].strip(), "method", *digits,
        "table: 221 training an", "method", *table,
        f"picture: {picture}"[:22].strip(),
    ]  # fmt: skip
    assert picture.read_bytes().startswith(PNG)


def test_the_share_that_a_student_keeps():
    def said(*losses):
        names = ("single network", "ensemble of 3", "distilled from 3")
        rows = [
            demo.Row(n, 1.0, nll, 0.0, 1, 0.0, 0.0) for n, nll in zip(names, losses, strict=True)
        ]
        return demo.said_of_students(rows)

    assert "keeps 75% of" in said(0.5, 0.3, 0.35)
    assert "too little" in said(0.5, 0.499, 0.4)


def test_no_plot_writes_nothing(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert quick("--no-plot") == 0
    assert "trained sum of 2" in capsys.readouterr().out
    assert not list(tmp_path.iterdir())


def test_without_matplotlib_it_says_how_to_get_it(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(demo, "find_spec", lambda name: None)
    assert quick() == 0
    assert "pip install matplotlib" in capsys.readouterr().out
    assert not list(tmp_path.iterdir())


def test_leaves_the_threads_of_torch_as_they_were():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        with demo.one_thread():
            assert torch.get_num_threads() == 1
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_split_is_stratified_and_disjoint():
    data = demo.load_data(seed=0)
    assert data.X_train.dtype == np.float32
    assert data.X_train.max() == 1
    counts = np.bincount(data.y_train) - np.bincount(data.y_test)
    assert np.abs(counts).max() <= 1
    assert not {row.tobytes() for row in data.X_train} & {row.tobytes() for row in data.X_test}


def test_measures_are_those_of_the_fitted_classifier():
    data = demo.load_data(seed=0)
    (_, make), *_ = demo.methods(2, 0, 2)
    row = demo.measure("one", make(), data)
    again = make().fit(data.X_train, data.y_train)
    assert row.accuracy == again.score(data.X_test, data.y_test)
    assert row.parameters == 64 * 64 + 64 + 64 * 64 + 64 + 64 * 10 + 10


def test_the_table_is_raw():
    data = demo.load_table(seed=0)
    assert data.X_train["sex"].dtype == "category"
    assert 0.05 < data.X_train.isna().to_numpy().mean() < 0.15
    assert set(data.y_test) == {"more", "less"}
    assert not set(data.X_train.index) & set(data.X_test.index)
