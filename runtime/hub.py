"""Whether the Hub answers, asked once."""

from __future__ import annotations

from huggingface_hub import constants, get_hf_file_metadata, hf_hub_url
from huggingface_hub.errors import HfHubHTTPError, HTTPError  # type: ignore[attr-defined]


def hub_fault(model_id: str, revision: str | None) -> str | None:
    """Why the Hub gives no answer at all about a model, None where it gives one.

    `from_pretrained` asks for each file seven times, with pauses that add up to 23 seconds, before
    it looks into the cache or gives up; with `local_files_only` it does so at once. A refusal (no
    such model, no access) is an answer.

    Args:
        model_id: Hub id (owner/name).
        revision: Branch, tag or commit.

    Returns:
        A sentence without its full stop, which names the address.
    """
    if constants.is_offline_mode():
        return None  # then nobody asks, and nothing takes time
    url = hf_hub_url(model_id, "config.json", revision=revision)
    try:
        get_hf_file_metadata(url, timeout=constants.HF_HUB_ETAG_TIMEOUT)
    except HfHubHTTPError:
        return None
    except HTTPError as error:
        return f"{constants.ENDPOINT} cannot be reached ({str(error) or type(error).__name__})"
    return None
