"""What a run keeps of itself, and tables of scores: values, or a refusal that names the file."""

import json
import math

import hypothesis
import pytest

from hou_synth import config
from hou_synth.io import files
from tests.fuzz import damage
from train.judging import scores
from train.runs import history, kept_state, record

PARTS = {"criterion": 0.8, "agreement": 0.9, "amount": 0.9}
ABOUT = {"command": "python -m train.universal", "tiles": "t", "bank": "b.h5", "tile_names": ["a/1", "a/2"]}
ABOUT |= {"labelled": [], "machine": {"cores": 2, "gpus": []}, "versions": {"keras": "3"}}
ROUNDS = b"round,task_loss,dice\n1,0.5,0.25\n2,0.4,0.5\n"
SCORES = b"set,image,type,dice1,dice2,dice,aji,pq,dq,sq,f1\na,1,lung,.8,.7,.75,.6,.5,.6,.8,.8\n"
READERS = {
    record.RUN: (lambda path: record.about(path.parent), json.dumps(ABOUT).encode()),
    record.SCORES: (lambda path: record.scores(path.parent), json.dumps({"dice": 0.5, "minutes": 3}).encode()),
    record.CONTRAST: (lambda path: record.contrasts(path.parent), json.dumps({"joint": {"ratio": 1.5}}).encode()),
    kept_state.SCORES: (lambda path: kept_state.scores(path.parent), json.dumps({"task": PARTS}).encode()),
    "1_task.csv": (history.read, ROUNDS),
    "scores.csv": (scores.read, SCORES),
    "table.csv": (files.read_csv, b"image,type\na.png,lung\n"),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("run")


@pytest.mark.parametrize("name", READERS)
def test_files_of_a_run(folder, name):
    reader, whole = READERS[name]
    assert damage.read(reader, folder / name, whole)

    @damage.cases
    @hypothesis.given(damage.damaged(whole, tokens=[b'"', b"[", b"{", b"}", b",", b"true", b"null", b"1e400", b"\n"]))
    def holds(content):
        damage.read(reader, folder / name, content)

    holds()


def test_configurations(folder):
    config.save(config.preset("cpu"), folder / record.CONFIG)
    whole = (folder / record.CONFIG).read_bytes()

    @damage.cases
    @hypothesis.given(damage.damaged(whole, tokens=[b'"', b"{", b"}", b"true", b"null", b"NaN", b"1e400", b"[]"]))
    def holds(content):
        found = damage.read(config.load, folder / record.CONFIG, content)
        if found is not None:
            assert all(math.isfinite(value) for value in vars(found.losses).values() if isinstance(value, float))

    holds()
