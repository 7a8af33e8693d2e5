"""A short fuzzing at every test; `make fuzz` makes the long one, whose table is fuzz.md."""

import bent
import fuzzing
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import ecgwb as wb

SLOW = ("trust_panel", "fit", "dose_response", "blanking_table", "faithfulness", "point_spread", "remeasure",
        "representative_beat", "delineate", "attribute, occlusion")  # fmt: skip


@pytest.fixture(scope="module")
def altered(tmp_path_factory):
    folder = tmp_path_factory.mktemp("altered")
    return folder, fuzzing.make(folder, 400)


def test_altered_recordings_are_read_or_refused_in_words(altered):
    counts, slowest, grown, foreign = fuzzing.read_all(*altered)
    assert not foreign
    assert counts["read"] + counts["refused"] == 400
    assert min(counts["read"], counts["refused"]) > 50  # the alterations do both
    assert slowest < 20
    assert grown < 200


@pytest.mark.parametrize("kind", fuzzing.hospital_files())
def test_bent_files_of_hospitals_are_read_or_refused_in_words(kind, tmp_path):
    names = fuzzing.make_files(tmp_path, fuzzing.hospital_files()[kind], 60)
    counts, slowest, grown, foreign = fuzzing.read_all(tmp_path, names)
    assert not foreign
    assert counts["read"] + counts["refused"] == 60
    assert min(counts["read"], counts["refused"]) > 2
    assert slowest < 20
    assert grown < 200


def test_altered_recordings_are_kept_or_left_out_and_none_is_lost(altered):
    folder, names = altered
    for name in names[40:]:
        (folder / f"{name}.hea").unlink()
    counts, _, grown, foreign = fuzzing.build_all(folder, names[:40])
    assert not foreign
    assert counts.total() == 40
    assert grown < 2000


@pytest.fixture(scope="module")
def inputs():
    return bent.good(), bent.with_manifest(), bent.net()


@settings(max_examples=120, deadline=None, derandomize=True, database=None)
@given(
    name=st.sampled_from([n for n in bent.CALLS if not n.startswith(SLOW)]),
    bends=st.lists(st.sampled_from(list(bent.BENDS)), min_size=1, max_size=2, unique=True),
)
def test_a_public_function_returns_or_refuses_in_words(inputs, name, bends):
    cohort, frozen, model = inputs
    for bend in bends:
        try:
            cohort = bent.BENDS[bend](cohort)
        except (KeyError, ValueError):
            assume(False)  # one bend took away what the other bends
    assert not fuzzing.call(name, cohort, frozen, model).startswith("foreign")


@settings(max_examples=60, deadline=None, derandomize=True, database=None)
@given(name=st.sampled_from([n for n in bent.CALLS if "anything" not in n]), other=st.sampled_from(bent.OTHERS))
def test_a_thing_of_another_kind_is_named(inputs, name, other):
    _, frozen, model = inputs
    assert not fuzzing.call(name, other, frozen, model).startswith("foreign")


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda c: wb.measure("ludb"), r"cohort is str 'ludb'; expected a cohort, as from wb\.open_cohort"),
        (lambda c: wb.align(c, c["beat"]), r"cohort is a DataArray; expected a cohort"),
        (lambda c: wb.cohort_map(c), r"aligned is a Dataset; expected a DataArray, as from wb\.align"),
        (lambda c: wb.compare_features(c, c), r"manifest is a Dataset; expected what wb\.freeze gives"),
        (lambda c: wb.freeze(["qt"], c), r"features hold str 'qt'; expected wb\.discovery\.Feature"),
        (lambda c: wb.open_cohort(c), r"name is a Dataset; expected 'ludb', 'ptbxl', 'ptbxl500', 'synthetic:N'"),
        (lambda c: wb.edits.stretch(c, "QT", "20"), r"ms is str '20'; expected a finite number"),
        (lambda c: wb.cohorts.put_landmarks(c, [1], "x"), r"landmarks is a list; expected a DataFrame, a row a record"),
        (lambda c: wb.edits.blank(c), r"blank\(\) missing 1 required positional argument: 'wave'"),
        (lambda c: wb.align(c["beat"], c, templat=1), r"align\(\) got an unexpected keyword argument 'templat'"),
    ],
)
def test_a_wrong_argument_is_named_with_what_was_expected(inputs, call, message):
    with pytest.raises(TypeError, match=message):
        call(inputs[0])


@pytest.mark.parametrize(
    ("bend", "message"),
    [
        ("without beat", "the cohort has no variable 'beat'; expected a cohort, as from"),
        ("half the landmarks", "the cohort has other landmarks than P_on"),
        ("half the time", "the cohort has times other than -500 to 698 ms in 600 steps"),
    ],
)
def test_a_bent_cohort_is_described(inputs, bend, message):
    with pytest.raises(ValueError, match=message):
        wb.edits.stretch(bent.BENDS[bend](inputs[0]), "QT", 20.0)


def test_the_order_of_dimensions_changes_nothing(inputs):
    cohort = inputs[0]
    turned = cohort.transpose("landmark", "time", "lead", ...)
    assert turned["beat"].dims != cohort["beat"].dims
    assert wb.measure(turned).equals(wb.measure(cohort))
    assert wb.attention.template_of(turned).equals(wb.attention.template_of(cohort))


def test_swapped_arguments_of_the_accuracy_table_are_noticed(inputs):
    cohort, _, model = inputs
    with pytest.raises(wb.ModelError, match="accuracy_table takes predictions, then the cohort"):
        wb.accuracy_table(cohort, wb.predict(model, cohort))


def test_two_people_are_no_ground_for_a_panel_or_a_table(inputs):
    cohort, _, model = inputs
    with pytest.raises(wb.ModelError, match="the cohort has 2 people; a panel needs 10 or more"):
        wb.trust_panel(model, cohort.isel(record=slice(2)))
    with pytest.raises(ValueError, match="of 1 patients no table says"):
        wb.segment_table(bent.aligned(cohort.isel(record=slice(1)), model))


def test_a_table_of_paths_in_a_csv_is_a_source(tmp_path):
    from bad_input import ptbxl, write

    (tmp_path / "recordings").mkdir()
    write(tmp_path / "recordings", "a", ptbxl())
    (tmp_path / "people.csv").write_text("path,record,age,sex\nrecordings/a,001,44,F\n")
    cohort = wb.build_cohort(tmp_path / "people.csv")
    assert cohort["record"].values.tolist() == ["001"]
    assert (cohort["age"].item(), cohort["sex"].item()) == (44, "female")
