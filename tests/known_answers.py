"""Known answers against the product's own functions: ``python tests/known_answers.py FILE``.

The file holds ``{"cases": [{"name", "inputs", "expected", "tolerance": {"abs", "rel"}}, ...]}``. A case belongs to the
longest known name that its own begins with, so variants may carry a suffix. A number passes when
``|got - expected| <= abs + rel·|expected|``; null means NaN or nothing. Prints a line per failing case and
``N passed, M failed``; the exit code is 1 when a case fails or nobody knows it, 2 when the file cannot be read.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench.judge import gate, monitor
from bench.judge.attainment import count_goodput, meets
from bench.judge.backfill import back_fill
from bench.judge.capacity import find_knee, fit_usl
from bench.judge.definitions import interpolated
from bench.judge.intervals import clopper_pearson, mean_t, nearest_rank, quantile_ranks, wilson
from bench.judge.proof import estimate_rank, most_late, needed_for_proof
from bench.judge.statistics import (
    agreement,
    bradley_terry,
    change_points,
    means,
    multiplicity,
    outcomes,
    pairs,
    repeats,
    resampling,
    sequential,
    two_samples,
)
from bench.judge.steady import check_little, mser5

Inputs = Mapping[str, Any]


def confidence_of(given: Inputs) -> float:
    return float(given.get("confidence", 1 - given.get("alpha", 0.05)))


def mean_se(given: Inputs) -> Any:
    return {"mean": mean_t(given["scores"]).value, "se": means.standard_error(given["scores"])}


def mean_ci(given: Inputs) -> Any:
    found = mean_t(given["scores"], confidence_of(given))
    return {"mean": found.value, "lo": found.low, "hi": found.high}


def clustered(given: Inputs) -> Any:
    found = means.clustered_error(given["scores"], given["clusters"])
    interval = found.interval(confidence_of(given))
    return {
        "mean": found.mean,
        "se_naive": found.naive,
        "se_cr0": found.cr0,
        "se_cr1": found.cr1,
        "n_clusters": found.clusters,
        "lo": interval.low,
        "hi": interval.high,
    }


def components(given: Inputs) -> Any:
    found = means.variance_components(given["scores"])
    return {"mean": found.mean, "se": found.se, "within": found.within, "between": found.between}


def paired(given: Inputs) -> Any:
    found = pairs.paired_difference(given["a"], given["b"], given.get("clusters"), confidence_of(given))
    return {
        "diff": found.diff,
        "se": found.se,
        "t": found.t,
        "p": found.p,
        "lo": found.low,
        "hi": found.high,
        "corr": found.correlation,
        "se_unpaired": found.se_unpaired,
        "n": found.n,
        "n_clusters": found.clusters,
    }


def planned(given: Inputs) -> dict[str, Any]:
    names = {"omega2": "omega2", "sigma2_a": "sigma2_a", "sigma2_b": "sigma2_b", "k_a": "k_a", "k_b": "k_b"}
    return {new: given[old] for old, new in {**names, "alpha": "alpha", "power": "power"}.items() if old in given}


def share(of: Callable[..., Any]) -> Callable[[Inputs], Any]:
    def run(given: Inputs) -> Any:
        found = of(given["k"], given["n"], confidence_of(given))
        return {"lo": found.low, "hi": found.high}

    return run


def newcombe(given: Inputs) -> Any:
    found = pairs.newcombe(given["k1"], given["n1"], given["k2"], given["n2"], confidence_of(given))
    return {"diff": found.value, "lo": found.low, "hi": found.high}


def mcnemar(given: Inputs) -> Any:
    found = pairs.mcnemar(given["b"], given["c"])
    return {"p_exact": found.p_exact, "p_mid": found.p_mid, "chi2_cc": found.chi2, "p_chi2_cc": found.p_chi2}


def permutation(given: Inputs) -> Any:
    found = resampling.sign_flip(given["d"], exact_up_to=20)
    return {"p_two_sided": found.p, "p_greater": found.p_greater}


def per_task(of: Callable[..., repeats.PerTask]) -> Callable[[Inputs], Any]:
    def run(given: Inputs) -> Any:
        found = of(given["n"], given["c"], given["k"])
        return {"per_task": list(found.per_task), "mean": found.mean, "se": found.se}

    return run


def strengths(given: Inputs) -> Any:
    found = bradley_terry.bradley_terry([tuple(row) for row in given["wins"]], given.get("anchor"))
    return {"beta": found.beta, "se": found.se, "elo": found.elo}


def kappa(of: Callable[[Any], agreement.Kappa]) -> Callable[[Inputs], Any]:
    def run(given: Inputs) -> Any:
        found = of(given["table"])
        return {"kappa": found.kappa, "se": found.se, "lo": found.low, "hi": found.high}

    return run


def adjusted(given: Inputs) -> Any:
    ways = {
        "holm": multiplicity.holm,
        "bh": multiplicity.benjamini_hochberg,
        "by": multiplicity.benjamini_yekutieli,
    }
    found = {name: way(given["p"]) for name, way in ways.items()}
    alpha = given.get("alpha", 0.05)
    return found | {f"n_{name}": sum(p is not None and p <= alpha for p in values) for name, values in found.items()}


def group(given: Inputs) -> Any:
    found = means.group_error(given["se"], given["n"])
    return {"se_weighted_lm_eval": found.pooled, "se_weighted_exact": found.weighted, "se_macro": found.macro}


def latency(given: Inputs) -> Any:
    import pandas as pd
    import pyarrow as pa

    from bench.judge.rows import derive, pauses

    chunks = [chunk for chunk in given["chunks"] if chunk[2] != 0]  # an empty delta is no event
    times: dict[bool, list[float]] = {True: [], False: []}
    for time, kind, _ in chunks:
        times[kind == "reasoning"].append(time)
    marks = {
        "due_ns": given.get("t_scheduled", given["t_send"]),
        "permit_ns": given["t_send"],
        "sent_ns": given["t_send"],
        "first_reasoning_ns": min(times[True], default=math.nan),
        "first_answer_ns": min(times[False], default=math.nan),
        "last_token_ns": chunks[-1][0] if chunks else math.nan,
        "end_ns": given["t_end"],
    }
    tokens = given.get("output_tokens")
    raw: dict[str, Any] = {name: seconds * 1e9 for name, seconds in marks.items()}
    raw |= {"completion_tokens": math.nan if tokens is None else float(tokens), "n": 1, "cached": False}
    row = derive(pd.DataFrame([raw])).iloc[0]
    gaps, _ = pauses(pa.array([[round(time * 1e9) for time, _, _ in chunks]], pa.list_(pa.int64())))
    return {
        "ttft": row["ttft_ms"] / 1000,
        "ttfat": row["ttfa_ms"] / 1000,
        "e2e": row["e2e_ms"] / 1000,
        "e2e_scheduled": row["due_e2e_ms"] / 1000,
        "ttft_scheduled": row["due_ttft_ms"] / 1000,
        "send_lag": row["send_lag_ms"] / 1000,
        "tpot": row["tpot_ms"] / 1000,
        "ntpot": 1 / row["output_tok_per_s"] if row["output_tok_per_s"] > 0 else None,
        "icl": [gap / 1000 for gap in gaps],
    }


def percentiles(given: Inputs) -> Any:
    import numpy as np

    x = np.sort(np.asarray(given["x"], dtype=np.float64))
    shares = given.get("q", (0.5, 0.9, 0.95, 0.99))
    return {
        "linear": [interpolated(x, None, q) for q in shares],
        "nearest_rank": [float(x[nearest_rank(len(x), q) - 1]) for q in shares],
    }


def ranks(given: Inputs) -> Any:
    low, high = quantile_ranks(given["n"], given["q"], confidence_of(given))
    return {"l": low, "u": high}


def percentile_rank(given: Inputs) -> Any:
    numbers = given["n"], given["p"], given["c"]
    return {"t": most_late(*numbers), "rank": estimate_rank(*numbers)}


def back_filled(given: Inputs) -> Any:
    import numpy as np

    values, counts = (np.array(column) for column in zip(*given["values"], strict=True))
    found = back_fill(np.repeat(values, counts), given["expected_interval"])
    quantiles = {f"p{name}": found.quantile(float(f"0.{name}")).value for name in ("5", "50", "75", "90", "95", "99")}
    more = {f"p{name}": found.quantile(float(f"0.{name}")).value for name in ("25", "999", "9999")}
    return {"total_count": int(found.values.size), "max": float(found.values[-1]), **quantiles, **more}


def little(given: Inputs) -> Any:
    starts, ends = zip(*given["intervals"], strict=True)
    found = check_little(starts, ends, tuple(given["window"]) if given.get("window") else None)
    if found is None:
        return {"L": None, "X": None, "W": None, "rel_error": None}
    return {"L": found.in_flight, "X": found.per_time, "W": found.latency, "rel_error": found.error}


def goodput(given: Inputs) -> Any:
    import pandas as pd

    from bench.slo import Slo, Term

    def ms(value: float | None) -> float:
        return math.nan if value is None else 1000 * value

    rows = [
        {
            "outcome": "ok" if ok else "failed",
            "ttft_ms": ms(ttft),
            "tpot_ms": ms(tpot),
            "completion_tokens": 1 if tpot is None else 2,
        }
        for ttft, tpot, ok in given["requests"]
    ]
    slo = Slo(tuple(Term(f"{name}_ms", None, "<=", 1000 * bound) for name, bound in given["slo"].items()))
    good = int(meets(slo, pd.DataFrame(rows)).sum()) if rows else 0
    found = count_goodput(good, len(rows), given["duration"])
    attained = found.attainment
    return {
        "good": found.good,
        "goodput": found.per_s,
        "attainment": attained.value,
        "attainment_lower95": found.lower95,
        "lo": attained.low,
        "hi": attained.high,
    }


def truncation(given: Inputs) -> Any:
    found = mser5(given["x"])
    return {name: found and getattr(found, name) for name in ("batches", "d", "truncate", "mser")}


def scalability(given: Inputs) -> Any:
    found = fit_usl(given["n"], given["x"])
    names = ("alpha", "beta", "gamma", "n_peak", "x_peak")
    return {name: found and getattr(found, name) for name in names}


def knee(given: Inputs) -> Any:
    shape = given.get("curve", "concave"), given.get("direction", "increasing")
    return {"knee": find_knee(given["x"], given["y"], *shape, given.get("S", 1.0))}


def shift(given: Inputs) -> Any:
    found = two_samples.rank_shift(given["baseline"], given["candidate"])
    return {
        "U": found.u,
        "p_exact": found.p_exact,
        "p_asymptotic": found.p_asymptotic,
        "prob_superiority": found.superiority,
        "hl_shift": found.shift,
        "ks": found.ks,
        "ks_p": found.p_ks,
    }


def ratio(given: Inputs) -> Any:
    found = gate.run_ratio(given["baseline"], given["candidate"], given.get("margin", 0.05))
    return {
        "ratio": found.ratio,
        "p_slower": found.p_slower,
        "ratio_lo90": found.low,
        "ratio_hi90": found.high,
        "p_tost": found.p_equivalent,
    }


def changes(given: Inputs) -> Any:
    found = change_points.change_points(
        given["series"],
        given.get("window_len", change_points.WINDOW),
        given.get("max_pvalue", change_points.MAX_P),
        given.get("min_magnitude", 0.0),
    )
    return {
        "index": [point.index for point in found],
        "mean_before": [point.mean_before for point in found],
        "mean_after": [point.mean_after for point in found],
    }


def perfherder(given: Inputs) -> Any:
    return {"t": two_samples.perfherder_t(given["previous_newest_first"], given["next_oldest_first"])}


def scores(given: Inputs) -> Any:
    return {"U": monitor.self_starting_scores(given["baseline"], given["new"], given.get("clip", monitor.CLIP))}


def evidence(given: Inputs) -> Any:
    found = monitor.evidence_of_change(given["u"], given.get("lambdas", monitor.LAMBDAS))
    return {"M": found, "alarm_index": monitor.first_alarm(found, given["A"])}


def boundaries(given: Inputs) -> Any:
    return {"z": list(sequential.obrien_fleming(given["looks"], given.get("alpha", 0.05)))}


def mixture(given: Inputs) -> Any:
    return {"bound": sequential.normal_mixture_bound(given["v"], given.get("alpha", 0.05), given["v_opt"])}


def share_sequence(given: Inputs) -> Any:
    tuned = {name: given[name] for name in ("alpha", "t_opt", "alpha_opt") if name in given}
    found = sequential.bernoulli_sequence(given["successes"], given["n"], **tuned)
    return {"lo": found.low, "hi": found.high}


def repeatable(given: Inputs) -> Any:
    raw, parsed = (repeats.determinism(given[name]) for name in ("raw", "parsed"))
    return {
        "tar_raw": raw.tar,
        "tar_answer": parsed.tar,
        "pairwise_raw": raw.pairwise,
        "pairwise_answer": parsed.pairwise,
    }


def rates(given: Inputs) -> Any:
    found = outcomes.outcome_rates(
        {name: count for name, count in given.items() if name not in ("total", "confidence")}
    )
    shares = {**found.rates, "error": found.error_rate}
    return {
        "strict": found.strict.value,
        "answered": found.answered.value,
        "strict_ci": [found.strict.low, found.strict.high],
        "answered_ci": [found.answered.low, found.answered.high],
        **{f"{name}_rate": share.value for name, share in shares.items()},
        **{f"{name}_ci": [share.low, share.high] for name, share in shares.items()},
    }


def nights(given: Inputs) -> Any:
    found = monitor.monitor(
        given["x"],
        given.get("A", 20_000),
        math.log1p(given.get("gate", 0.03)),
        given.get("B", monitor.SEED_NIGHTS),
        given.get("clip", monitor.CLIP),
        given.get("lambdas", monitor.LAMBDAS),
    )
    return {"alarm": found.alarm, "change_start": found.start, "shift": found.relative_shift, "final_M": found.evidence}


def verdicts(given: Inputs) -> Any:
    metrics = [
        gate.GateMetric(row["name"], row["p"], row["ratio"] - 1, row["upper"] - 1, row["margin"])
        for row in given["metrics"]
    ]
    found = gate.gate_verdicts(metrics, given.get("q", 0.05), given.get("limit", 0.05))
    return {"p_adj": [row.p_adjusted for row in found], "verdict": [str(row.verdict) for row in found]}


KNOWN: dict[str, Callable[[Inputs], Any]] = {
    "mean_se_clt": mean_se,
    "mean_ci_t": mean_ci,
    "clustered_se": clustered,
    "resampled_mean_se": components,
    "variance_components": components,
    "paired_difference": paired,
    "sample_size_miller": lambda given: {"n": pairs.sample_size(delta=given["delta"], **planned(given))},
    "mde_miller": lambda given: {"delta": pairs.minimum_detectable(n=given["n"], **planned(given))},
    "wilson_ci": share(wilson),
    "clopper_pearson_ci": share(clopper_pearson),
    "newcombe_diff_ci": newcombe,
    "mcnemar": mcnemar,
    "paired_permutation": permutation,
    "pass_at_k": per_task(repeats.pass_at_k),
    "pass_hat_k": per_task(repeats.pass_hat_k),
    "maj_at_k": lambda given: {"maj": repeats.majority_at_k(given["answers"], given["correct"], given["k"])},
    "bradley_terry": strengths,
    "cohen_kappa": kappa(agreement.cohen_kappa),
    "fleiss_kappa": kappa(agreement.fleiss_kappa),
    "holm_bh_by": adjusted,
    "group_se": group,
    "latency_metrics": latency,
    "percentiles": percentiles,
    "quantile_ci_ranks": ranks,
    "quantile_ci_none": lambda given: {"min_n": [needed_for_proof(0, q, c) for q, c in given["cases"]]},
    "mlperf_early_stopping_min_queries": lambda given: {
        "n": [needed_for_proof(late, given["p"], given["c"]) for late in given["t"]]
    },
    "mlperf_percentile_estimate_rank": percentile_rank,
    "coordinated_omission_correction": back_filled,
    "littles_law": little,
    "goodput": goodput,
    "mser5": truncation,
    "usl_fit": scalability,
    "kneedle": knee,
    "mann_whitney_hl": shift,
    "paired_run_ratio_gate": ratio,
    "otava_change_points": changes,
    "perfherder_t": perfherder,
    "self_starting_scores": scores,
    "sr_edetector": evidence,
    "lan_demets_obf": boundaries,
    "normal_mixture_boundary": mixture,
    "bernoulli_confidence_sequence": share_sequence,
    "e_bh": lambda given: {"rejected": multiplicity.e_bh(given["e"], given.get("q", 0.05))},
    "determinism": repeatable,
    "outcome_rates": rates,
    "nightly_monitor": nights,
    "gate_verdict": verdicts,
}


def find(name: str) -> Callable[[Inputs], Any] | None:
    """The function of the longest known name that a case's name begins with."""
    fitting = [known for known in KNOWN if name == known or name.startswith(f"{known}_")]
    return KNOWN[max(fitting, key=len)] if fitting else None


def differ(got: Any, expected: Any, tolerance: Mapping[str, float], path: str = "") -> list[str]:
    """One line per place at which ``got`` misses ``expected``; more than is expected may be there in a mapping."""
    where = path or "answer"
    if isinstance(expected, Mapping):
        if not isinstance(got, Mapping):
            return [f"{where}: got {got!r}, expected {expected!r}"]
        lines = []
        for key, value in expected.items():
            inner = f"{path}.{key}" if path else str(key)
            lines += differ(got[key], value, tolerance, inner) if key in got else [f"{inner}: nobody computes it"]
        return lines
    if isinstance(expected, list):
        if not isinstance(got, list | tuple) or len(got) != len(expected):
            return [f"{where}: got {got!r}, expected {expected!r}"]
        both = enumerate(zip(got, expected, strict=True))
        return [line for index, (one, two) in both for line in differ(one, two, tolerance, f"{path}[{index}]")]
    return [] if same(got, expected, tolerance) else [f"{where}: got {got!r}, expected {expected!r}"]


def same(got: Any, expected: Any, tolerance: Mapping[str, float]) -> bool:
    """Whether a plain value passes."""
    if expected is None:
        return got is None or (isinstance(got, float) and math.isnan(got))
    if isinstance(expected, bool | str) or isinstance(got, bool | str) or got is None:
        return type(got) is type(expected) and bool(got == expected)
    if math.isinf(expected) or math.isinf(got):
        return bool(got == expected)
    return bool(abs(got - expected) <= tolerance.get("abs", 0) + tolerance.get("rel", 0) * abs(expected))


def check(case: Mapping[str, Any]) -> list[str]:
    """What is wrong with the answers to one case; empty when it passes."""
    answer = find(case["name"])
    if answer is None:
        return ["no function is known for this name"]
    try:
        got = answer(case["inputs"])
    except Exception as error:  # noqa: BLE001  # a case that breaks a function has failed; the next one still counts
        return [f"{type(error).__name__}: {error}"]
    return differ(got, case["expected"], case.get("tolerance", {}))


def main(arguments: list[str]) -> int:
    """Check every case of the files named."""
    if not arguments:
        print("usage: python tests/known_answers.py FILE...", file=sys.stderr)
        return 2
    passed = failed = 0
    for name in arguments:
        try:
            given = json.loads(Path(name).read_text(encoding="utf-8"))
            cases = given["cases"] if isinstance(given, dict) else given
        except (OSError, ValueError, KeyError) as error:
            print(f"{name} cannot be read as cases: {error}", file=sys.stderr)
            return 2
        for case in cases:
            wrong = check(case)
            passed, failed = passed + (not wrong), failed + bool(wrong)
            if wrong:
                print(f"{case['name']}: {'; '.join(wrong)}")
    print(f"{passed} passed, {failed} failed")
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
