"""What ``bench run --help`` prints."""

from __future__ import annotations

import textwrap

from bench.compose import container
from bench.config import Schema
from bench.loader import Loader
from bench.registry import structured

GROUPS = {
    "experiment": "presets that set any of the others, and their sweep",
    "model": "who answers",
    "provider": "where it is served; auto takes each model's own",
    "dataset": "the prompts",
    "sampling": "request parameters",
    "load": "when requests are sent",
    "scorer": "how answers are judged; auto takes the dataset's own",
    "limits": "concurrency and rates per account and model",
    "timeout": "deadlines",
    "budget": "what the run may spend",
    "engine": "how requests are fired",
    "report": "what is written afterwards",
}

EXAMPLES = (
    ("bench run", "the demo, which is experiment=demo"),
    ("bench run model=qwen3-8b,qwen3-32b sampling.temperature=0.2,1.0 sampling.n=3 -m", "2 x 2 cells in one run"),
    ("bench run model='glob(qwen3-*)' dataset=choice dataset.limit=50 -m", "every model of a family"),
    ("bench run 'sampling.temperature=range(0,1.1,0.25)' repeats=5 -m", "a range of temperatures, five repeats"),
    ("SILICONFLOW_API_KEY=... bench run provider=siliconflow budget=small", "the real service, with a cap"),
    (
        "bench run provider=compatible provider.base_url=http://127.0.0.1:8000/v1 model=custom model.name=mine",
        "a server and a model of your own",
    ),
    ("bench run dataset=jsonl dataset.path=my.jsonl scorer=exact", "prompts of your own: id, prompt, target"),
    ("bench run limits.rpm=60 limits.concurrency=4 timeout=patient budget.cost=2", "slowly, and with a price limit"),
    ("bench run experiment=demo dry_run=true", "the plan: cells, requests, token and cost ceiling; sends nothing"),
)

WIDTH = 100


def run_help(loader: Loader) -> str:
    """Groups with their options, single keys, examples and where to read on, at most 100 columns wide."""
    lines = [
        "bench run [KEY=VALUE ...] [-m]",
        "",
        *textwrap.wrap(
            "Plan, send, record, score, print the summary and write the report. GROUP=NAME picks a preset, "
            "GROUP.KEY=VALUE sets one value, and -m runs the product of all comma lists, choice(), range() and glob() "
            "values as one run.",
            WIDTH,
        ),
        "",
        "Groups",
    ]
    extra = [group for group in loader.list_groups("") if group not in GROUPS and group not in ("hydra", "plugins")]
    for group in (*GROUPS, *extra):
        options = loader.options(group)
        if not options:
            continue
        lines.append(f"  {group}: {GROUPS.get(group, 'yours')}")
        lines += textwrap.wrap(
            ", ".join(options), WIDTH, initial_indent="      ", subsequent_indent="      ", break_on_hyphens=False
        )
    keys = [f"{key}={value}" for key, value in _single_keys().items()]
    lines += ["", "Keys beside the groups, with their defaults"]
    lines += textwrap.wrap(", ".join(keys), WIDTH, initial_indent="  ", subsequent_indent="  ")
    lines += ["", "Examples"]
    for command, meaning in EXAMPLES:
        lines += [f"  # {meaning}", f"  {command}"]
    lines += [
        "",
        "bench run --cfg job        prints the composed configuration, with every key there is",
        "bench run --hydra-help     Hydra's own flags; --info says where configuration comes from",
        "bench models, bench datasets   more about the presets of these groups",
        "",
        *textwrap.wrap(
            "Your own presets: files in ./conf/GROUP/NAME.yaml (or --config-dir FOLDER) are found before the shipped "
            "ones, and plug-ins in conf/plugins/*.py are loaded.",
            WIDTH,
        ),
    ]
    return "\n".join(lines)


def _single_keys() -> dict[str, object]:
    """Keys that no group presets, dotted, with their default values."""
    keys: dict[str, object] = {}
    for key, value in container(structured(Schema)).items():
        if key not in GROUPS:
            nested = {f"{key}.{name}": item for name, item in value.items()} if isinstance(value, dict) else {}
            keys |= nested or {key: value}
    return {key: str(value).lower() if isinstance(value, bool) else value for key, value in keys.items()}
