"""README.md of a published network: metadata that the hub reads, and what people want to know."""
from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn

from .config import describe

TASK = 'image-classification'
DETAILS = ('Dataset', 'Pretrain Dataset')           # of the card's details, what the hub's metadata names, too
USAGE = '''```python
from urllib.request import urlopen

import timm                     # or: import zoo as timm
from PIL import Image

image = Image.open(urlopen('{image}')).convert('RGB')
model = timm.create_model('{source}', pretrained=True).eval()
transform = timm.data.create_transform(**timm.data.resolve_model_data_config(model), is_training=False)
probabilities = model(transform(image).unsqueeze(0)).softmax(dim=-1)
print(probabilities.topk({topk}))
```'''
IMAGE = 'https://huggingface.co/datasets/huggingface/documentation-images/resolve/main/beignets-task-guide.png'


def generate_readme(model_card: Mapping[str, Any], model_name: str, task_name: str = TASK) -> str:
    """The text of a model card.

    Args:
        model_card: tags, library_name, license, license_name, license_link (metadata); description, details (heading ->
            text, a list or a mapping), usage, comparison, citation (BibTeX, one or a list): each is left out where it
            is not there. The details 'Dataset' and 'Pretrain Dataset' are metadata, too.
    """
    from huggingface_hub import ModelCardData
    details = model_card.get('details') or {}
    datasets = [name.lower() for key in DETAILS for name in _listed(details.get(key))]
    data = ModelCardData(
        tags=model_card.get('tags') or [task_name, 'timm', 'transformers'], pipeline_tag=task_name,
        library_name=model_card.get('library_name', 'timm'), license=model_card.get('license', 'apache-2.0'),
        license_name=model_card.get('license_name'), license_link=model_card.get('license_link'),
        datasets=datasets or None)
    parts = [f'---\n{data.to_yaml()}\n---\n# Model card for {model_name}', model_card.get('description')]
    if details:
        parts.append('## Model Details\n' + '\n'.join(_detail(key, value) for key, value in details.items()))
    for key, title in (('usage', 'Model Usage'), ('comparison', 'Model Comparison')):
        if model_card.get(key):
            parts.append(f'## {title}\n{model_card[key]}')
    if citations := _listed(model_card.get('citation')):
        parts.append('## Citation\n' + '\n'.join(f'```bibtex\n{citation}\n```' for citation in citations))
    return '\n\n'.join(part for part in parts if part) + '\n'


def card_of(model: nn.Module, source: str, config: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """What a network says of itself, as `generate_readme` takes it.

    Args:
        source: what it is created by, 'hf-hub:user/name' or 'local-dir:folder'.
        config: its config.json, if it says more than `describe` does by itself.
    """
    config = config or describe(model)
    record = config['pretrained_cfg']
    size, test = record['input_size'], record.get('test_input_size')
    details = {
        'Model Type': 'Image classification',
        'Architecture': config['architecture'],
        'Model Stats': {
            'Parameters (M)': f'{sum(p.numel() for p in model.parameters()) / 1e6:.1f}',
            'Image size': f'{size[1]} x {size[2]}' + (f', test = {test[1]} x {test[2]}' if test else ''),
            'Channels': size[0],
            'Classes': config['num_classes'],
        },
    }
    names = config.get('label_names')
    if names and len(names) <= 50:
        details['Class names'] = ', '.join(map(str, names.values() if isinstance(names, Mapping) else names))
    papers = ', '.join(_listed(record.get('paper_ids')))
    details |= {title: text for title, text in (('Papers', papers), ('Original', record.get('origin_url'))) if text}
    card = {'details': details, 'usage': USAGE.format(source=source, image=IMAGE, topk=min(5, config['num_classes'])),
            'description': record.get('description') or f'{config["architecture"]}, an image classification network.'}
    return card | ({'license': record['license']} if record.get('license') else {})


def _detail(key: str, value: Any) -> str:
    """A line of the list, with lines of its own for a list or a mapping."""
    if isinstance(value, Mapping):
        return '\n'.join([f'- **{key}:**', *(f'  - {name}: {text}' for name, text in value.items())])
    if isinstance(value, (list, tuple)):
        return '\n'.join([f'- **{key}:**', *(f'  - {text}' for text in value)])
    return f'- **{key}:** {value}'


def _listed(value: Any) -> list[str]:
    return [value] if isinstance(value, str) else list(value or ())
