"""Weights, config.json and model card, written to a folder or committed to the Hugging Face hub in one step."""
from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

import torch
from safetensors.torch import save_file
from torch import nn

from .. import __version__
from ..pretrained.hub import LOG_IN, offline
from ..pretrained.read import own, unwrap
from ..spec import one_line, unknown
from .card import TASK, card_of, generate_readme
from .config import describe, save_config_for_hf

SAFE, PICKLED, CONFIG, CARD = 'model.safetensors', 'pytorch_model.bin', 'config.json', 'README.md'
FILES = {True: (SAFE,), False: (PICKLED,), 'both': (SAFE, PICKLED)}
Serialization = bool | Literal['both']


def save_for_hf(model: nn.Module, save_directory: str | Path, model_config: Mapping[str, Any] | None = None,
                model_args: Mapping[str, Any] | None = None, safe_serialization: Serialization = False,
                data_config: Mapping[str, Any] | None = None) -> None:
    """Writes a network's weights and its config.json to a folder, which 'local-dir:FOLDER' then names here and in timm.

    Each file appears whole, the config.json last; files that were there are replaced.

    Args:
        model_config, model_args, data_config: see `zoo.publishing.describe`.
        safe_serialization: True writes model.safetensors, False pytorch_model.bin, 'both' both.

    Raises:
        ValueError: the network cannot be described; nothing is written.
    """
    if safe_serialization not in FILES:
        raise ValueError(unknown('safe_serialization', str(safe_serialization), map(str, FILES)))
    describe(model, model_config, model_args, data_config)
    folder = Path(save_directory).expanduser()
    folder.mkdir(parents=True, exist_ok=True)
    state = own(unwrap({name: tensor.cpu() for name, tensor in model.state_dict().items()}))
    with TemporaryDirectory(dir=folder, prefix='.part-') as part:
        for name in FILES[safe_serialization]:
            if name == SAFE:
                save_file(state, Path(part, name), metadata={'format': 'pt'})
            else:
                torch.save(state, Path(part, name))
        save_config_for_hf(model, Path(part, CONFIG), model_config, model_args, data_config)
        for name in (*FILES[safe_serialization], CONFIG):
            written, empty = Path(part, name), Path(part, f'{name}.mode')
            empty.touch()
            written.chmod(empty.stat().st_mode)                 # what the system gives new files; save_file does not
            written.replace(folder / name)


def push_to_hf_hub(model: nn.Module, repo_id: str, commit_message: str = 'Add model', token: str | None = None,
                   revision: str | None = None, private: bool = False, create_pr: bool = False,
                   model_config: Mapping[str, Any] | None = None, model_card: Mapping[str, Any] | None = None,
                   model_args: Mapping[str, Any] | None = None, task_name: str = TASK,
                   safe_serialization: Serialization = 'both', data_config: Mapping[str, Any] | None = None) -> Any:
    """Publishes a network on the Hugging Face hub, from where 'hf-hub:REPO_ID' builds it here and in timm.

    The repository is made if there is none. All files go into one commit: it is there whole or not at all. A README.md
    that the repository has is kept.

    Args:
        repo_id: 'user/name', or 'name' for the token's user.
        token: one that may write; by default that of `hf auth login` or HF_TOKEN.
        revision: the branch that is committed to. create_pr: open a pull request instead.
        model_card: see `zoo.publishing.generate_readme`, over what the network says of itself.
        model_config, model_args, data_config: see `zoo.publishing.describe`. safe_serialization: as in `save_for_hf`.

    Returns:
        What huggingface_hub says of the commit; its `commit_url` is the page of it.

    Raises:
        ValueError: no such repository name; the network cannot be described.
        OSError: no token, no right to write, no network; the message says why.
    """
    from huggingface_hub import CommitOperationAdd, HfApi, get_token, utils
    from huggingface_hub.errors import HFValidationError
    try:
        getattr(utils, 'validate_repo_id')(repo_id)              # which its utils do not list among their names
    except HFValidationError as error:
        raise ValueError(f"A repository is named 'user/name', not {repo_id!r}: {error}") from error
    config = describe(model, model_config, model_args, data_config)
    if offline():
        raise OSError(f'{repo_id} is not published: HF_HUB_OFFLINE is set.')
    if not (token or get_token()):
        raise PermissionError(f'{repo_id} is not published: it takes a token that may write. To have one, {LOG_IN}.')
    api = HfApi(token=token, library_name='zoo', library_version=__version__)
    with TemporaryDirectory() as folder:
        save_for_hf(model, folder, model_config, model_args, safe_serialization, data_config)
        with _reasons(repo_id, api.endpoint):
            repo_id = api.create_repo(repo_id, private=private, exist_ok=True).repo_id
            if not api.file_exists(repo_id, CARD, revision=revision):
                card = {**card_of(model, f'hf-hub:{repo_id}', config), **(model_card or {})}
                text = generate_readme(card, repo_id.partition('/')[2], task_name)
                Path(folder, CARD).write_text(text, encoding='utf-8')
            additions = [CommitOperationAdd(path.name, path) for path in sorted(Path(folder).iterdir())]
            return api.create_commit(repo_id, additions, commit_message=commit_message, revision=revision,
                                     create_pr=create_pr)


@contextmanager
def _reasons(repo_id: str, endpoint: str) -> Iterator[None]:
    """Turns what goes wrong with the hub into one error that says what can be done."""
    try:
        yield
    except Exception as error:                    # of requests or of httpx, by the version of huggingface_hub
        status = getattr(getattr(error, 'response', None), 'status_code', None)
        known = {401: f'the token is not accepted; {LOG_IN}', 403: 'the token may not write there'}
        why = known[status] if status in known else one_line(error)
        raise OSError(f'{repo_id} is not published on {endpoint}, where a commit is whole or not there: {why}'
                      ) from error
