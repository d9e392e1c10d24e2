"""Networks published in timm's layout: weights, config.json and a model card in a folder or on the Hugging Face hub."""
from __future__ import annotations

from .card import card_of, generate_readme
from .config import describe, save_config_for_hf
from .push import push_to_hf_hub, save_for_hf

__all__ = ['card_of', 'describe', 'generate_readme', 'push_to_hf_hub', 'save_config_for_hf', 'save_for_hf']
