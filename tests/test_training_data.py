"""Members of one stack read their own rows, whatever arrays these are in."""

import numpy as np
import torch
from hypothesis import given, settings, strategies as st

from skensemble._data.batches import TrainingData
from skensemble._data.rows import FitData


@st.composite
def data_of_members(draw):
    """Return what members learn; some share their rows, their weights or what stands beside."""
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    weighted, taught = draw(st.booleans()), draw(st.booleans())
    arrays = []
    for _ in range(draw(st.integers(1, 3))):
        n_rows = draw(st.integers(3, 7))
        arrays.append((rng.normal(size=(n_rows, 2)), rng.integers(0, 3, n_rows)))
    members = []
    for _ in range(draw(st.integers(1, 4))):
        X, y = arrays[draw(st.integers(0, len(arrays) - 1))]
        old = [one for one in members if one.X is X]
        if old and draw(st.booleans()):
            beside = {"weight": old[0].weight, "targets": old[0].targets}
        else:
            beside = {
                "weight": rng.uniform(size=len(X)) if weighted else None,
                "targets": {"logits": rng.normal(size=(len(X), 2, 3))} if taught else {},
            }
        members.append(FitData(X, y, rows=rng.permutation(len(X))[:3], **beside))
    return members


@settings(max_examples=200, deadline=None)
@given(data_of_members())
def test_each_member_reads_its_own(members):
    data = TrainingData.gather(members, torch.float64, "cpu")
    index = np.stack([one.rows + start for one, start in zip(members, data.starts, strict=True)])
    batch = data.batch(torch.from_numpy(index))
    for at, one in enumerate(members):
        np.testing.assert_array_equal(batch.x[at], one.X[one.rows])
        np.testing.assert_array_equal(batch.y[at], one.y[one.rows])
        assert (batch.weight is None) == (one.weight is None)
        if one.weight is not None:
            weight = batch.weight.expand(len(members), -1)
            np.testing.assert_array_equal(weight[at], one.weight[one.rows])
        assert batch.targets.keys() == one.targets.keys()
        for name, values in one.targets.items():
            found = batch.targets[name].expand(len(members), *batch.targets[name].shape[1:])
            np.testing.assert_array_equal(found[at], values[one.rows])


@settings(max_examples=100, deadline=None)
@given(data_of_members())
def test_rows_are_kept_once(members):
    data = TrainingData.gather(members, torch.float64, "cpu")
    blocks = {tuple(map(id, (one.X, one.weight, *one.tables().values()))) for one in members}
    one_array = len({id(one.X) for one in members}) == 1
    longest = sum(len(x) for x in {id(one.X): one.X for one in members}.values())
    assert len(data) == longest if one_array else len(data) <= 7 * len(blocks)
