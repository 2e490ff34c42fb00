"""The fit of replicas: what was put in comes out, and bad data are named."""

from __future__ import annotations

import csv
import gzip
from pathlib import Path

import pytest

from infra.fit import replicas as fit
from orchestrator.planner.sizing import packaged

TAU0, TAU1, TAU2 = 0.008, 1e-4, 5e-8
IDLE, FULL, KNEE = 108.0, 600.0, 10.0
COLUMNS = (
    "task,model_id,weight_precision,gpu_model,num_gpus,tensor_parallel,avg_batch_size,avg_output_len,"
    "avg_power_watts,output_throughput_tokens_per_sec,total_params_billions,activated_params_billions"
)


def measured(model: str, outputs: tuple[float, ...], billions: float = 8.0) -> list[str]:
    """Write what a replica of known parameters (those of 8 billion weights) would have been measured to do."""
    rows = []
    for output in outputs:
        for batch in (4, 8, 16, 32, 64, 128):
            part = billions / 8
            tau = TAU0 * (0.4 + 0.6 * part) + batch * (TAU1 * part + TAU2 * output / 2)
            watts = IDLE + (FULL - IDLE) * (1 - 2.718281828459045 ** (-batch / KNEE))
            rows.append(f"gpqa,{model},bfloat16,H100,1,1,{batch},{output},{watts},{batch / tau},{billions},{billions}")
    return rows


@pytest.fixture
def out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Let the tables be written where a test may."""
    monkeypatch.setattr(fit, "OUT", tmp_path)
    return tmp_path


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Make a small folder of the layout that the script reads."""
    folder = tmp_path / "data"
    (folder / "energy").mkdir(parents=True)
    (folder / "accelerators").mkdir()
    others = [row for n in (2, 4, 7, 16) for row in measured(f"x/Other-{n}B", (500,), n)]
    write(folder, measured("x/Model-8B-Instruct", (500, 8000)) + others)
    sheet = "accelerator,memory_gb,memory_bandwidth_gb_s,dense_bf16_or_fp16_tflops\nH100,80,3350,989\n"
    (folder / "accelerators" / "accelerators.csv").write_text(sheet, encoding="utf-8")
    seconds = 2 * 70e9 * 1024 / (0.4 * 989e12 * 4)
    rows = (
        "model,hardware,tensor_parallel,prompt_tokens,batch_size,prompt_time_ms\n"
        f"llama2-70b,h100-80gb,4,1024,1,{seconds * 1e3}\n"
    )
    with gzip.open(folder / "energy" / "splitwise_perf_power.csv.gz", "wt", encoding="utf-8") as file:
        file.write(rows)
    return folder


def write(folder: Path, rows: list[str]) -> None:
    (folder / "energy" / "llm_energy_measured.csv").write_text("\n".join([COLUMNS, *rows]) + "\n", encoding="utf-8")


def table(out: Path) -> dict[str, dict[str, str]]:
    lines = (out / "replicas.csv").read_text(encoding="utf-8").splitlines()
    return {row["model"]: row for row in csv.DictReader(line for line in lines if not line.startswith("#"))}


def test_known_parameters_are_found_again(data: Path, out: Path) -> None:
    """Step time by its three terms, power by its two, and prefill by its share of the peak."""
    assert fit.main(["--data", str(data)]) == 0
    row = table(out)["x/Model-8B"]
    found = [float(row[name]) for name in ("tau0_s", "tau1_s", "tau2_s_per_token")]
    assert found == pytest.approx([TAU0, TAU1, TAU2], rel=1e-3)
    assert float(row["full_watts"]) == pytest.approx(FULL, rel=0.02)
    assert float(row["knee_batch"]) == pytest.approx(KNEE, rel=0.06)
    assert float(row["prefill_tokens_per_s"]) == pytest.approx(0.4 * 989e12 / 16e9, rel=1e-3)
    assert float(row["tau_error_fraction"]) < 1e-3


def test_one_length_does_not_tell_what_contexts_cost(data: Path, out: Path) -> None:
    """Then the row says that it is not known, instead of a number that fits by chance."""
    fit.main(["--data", str(data)])
    assert table(out)["x/Other-7B"]["tau2_from"] == "not known"


def test_the_same_data_give_the_same_bytes(data: Path, out: Path) -> None:
    """Whoever runs it again gets no difference to commit."""
    fit.main(["--data", str(data)])
    before = [(out / name).read_bytes() for name in ("replicas.csv", "efficiencies.json")]
    fit.main(["--data", str(data)])
    assert [(out / name).read_bytes() for name in ("replicas.csv", "efficiencies.json")] == before


def test_what_it_writes_is_what_the_planner_reads(data: Path, out: Path) -> None:
    """Both sides of the file agree on its columns."""
    fit.main(["--data", str(data)])
    models = packaged.read_fitted(out / "replicas.csv")
    assert {key[0] for key in models} == {"x/Model-8B", *(f"x/Other-{n}B" for n in (2, 4, 7, 16))}


@pytest.mark.parametrize("fault", ["missing", "column", "nan", "empty", "lonely"])
def test_data_that_are_none_are_named(fault: str, data: Path, out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """No table is written from a folder that lacks something."""
    path = data / "energy" / "llm_energy_measured.csv"
    if fault == "missing":
        path.unlink()
    elif fault == "column":
        path.write_text("task,model_id\ngpqa,x\n", encoding="utf-8")
    elif fault == "nan":
        write(data, [*measured("x/Model-8B", (500,)), "gpqa,x/Model-8B,bfloat16,H100,1,1,4,500,nan,100,8,8"])
    elif fault == "lonely":
        write(data, measured("x/Model-8B", (500,)))  # nothing to tell others by
    else:
        write(data, [])
    assert fit.main(["--data", str(data)]) == 2
    assert "--data" in capsys.readouterr().err
    assert not (out / "replicas.csv").exists()
