"""The SiliconFlow service, host .cn (CNY). The preset ``siliconflow_com`` is the same for its other host (USD)."""

from __future__ import annotations

from dataclasses import dataclass

from bench.providers.compatible import Compatible
from bench.registry import plugin


@plugin("provider", "siliconflow")
@dataclass(frozen=True)
class SiliconFlow(Compatible):
    """SiliconFlow: its page's parameter rules are checked before anything is sent."""

    kind: str = "siliconflow"
    name: str = "siliconflow"
    base_url: str | None = "https://api.siliconflow.cn/v1"
    api_key_env: str | None = "SILICONFLOW_API_KEY"

    enforces_page_rules = True
