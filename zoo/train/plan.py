"""A dry run: what a recipe comes to, shown before it is trained."""
from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import count, islice
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from .loader import Batch
from .readable import look_at
from .recipe import Recipe
from .task import name_of
from .trainer import Trainer

STEPS = 2                   # that are trained
TILES, TILE = 24, 160       # images of the sheet, and pixels of the longer side of each
CLASSES = 30                # lines of the table of classes


def dry_run(trainer: Trainer, sheet: str | Path, where: Mapping[str, str] | None = None,
            idle: Sequence[str] = ()) -> None:
    """Prints recipe, network, data and plan, draws augmented images into a file, and trains two steps.

    Args:
        trainer: a run that was made ready, without a folder.
        sheet: the picture of augmented images, a PNG file.
        where: where values were given, by 'section.key'.
        idle: what the recipe's file says and nothing reads, a line each.

    Raises:
        ValueError: more images cannot be read than the recipe allows.
        OSError: the picture cannot be written. Besides, what steps of the run raise.
    """
    show = print if trainer.processes.first else lambda *_: None
    look = look_at(trainer.sources) if trainer.processes.first else None
    parts = {'recipe': recipe_lines(trainer.recipe, where or {}), 'idle': idle, 'network': network_lines(trainer),
             'data': [*data_lines(trainer), *(look.lines if look else [])], 'plan': plan_lines(trainer)}
    for title, lines in parts.items():
        if lines:
            show('\n'.join([title, *(f'  {line}' for line in lines), '']))
    trainer.processes.guarded(lambda: look and look.check(trainer.recipe.data.max_unreadable))
    groups = _groups(trainer)
    group = next(groups)
    if trainer.processes.first:
        draw_sheet(trainer, group[0], Path(sheet))
    show(f'augmented images\n  {sheet}\n\nsteps')
    trainer.network.training()
    for number, batches in enumerate([group, *islice(groups, STEPS - 1)]):
        lr = trainer.schedule.apply(trainer.optimizer, number)
        loss = trainer.step(batches, 0, number, None)
        show(f'  step {number}  loss {loss:.4f}  lr {lr:.4g}')


def recipe_lines(recipe: Recipe, where: Mapping[str, str]) -> list[str]:
    """The recipe as YAML, with where a value is from; what has no note is a default."""
    from .reading import TYPES, write_yaml
    lines = []
    for section, keys in TYPES.items():
        lines.append(f'{section}:')
        for key in keys:
            text = f'  {key}: {write_yaml(getattr(getattr(recipe, section), key))}'
            place = where.get(f'{section}.{key}')
            lines.append(f'{text}  # {place}' if place else text)
    return lines


def network_lines(trainer: Trainer) -> list[str]:
    """What the network is and costs."""
    model, config = trainer.model, trainer.config
    parameters = sum(p.numel() for p in model.parameters())
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    model.eval()
    part = trainer.recipe.model
    weights = 'published' if part.pretrained else part.initial_checkpoint or 'random'
    return [f'name           {part.model}', f'weights        {weights}',
            f'parameters     {parameters / 1e6:.2f} M, of which {trained / 1e6:.2f} M are trained',
            *trainer.task.cost(model, config),
            f'mean, std      {_numbers(config["mean"])}; {_numbers(config["std"])}',
            f'outputs        {trainer.sources.num_outputs}', f'device         {trainer.device}']


def data_lines(trainer: Trainer) -> list[str]:
    """How many images there are, and of which classes."""
    found = {'train': trainer.sources.train, 'val': trainer.sources.val}
    totals = [f'{name}  {len(source)} images' if source is not None else f'{name}  none'
              for name, source in found.items()]
    if trainer.sources.task in ('regression', 'segment'):
        return totals
    counts = {name: count_classes(source) if source is not None else Counter() for name, source in found.items()}
    names = [name_of(trainer.sources, index) for index in range(trainer.sources.num_outputs)]
    width = max(len('class'), *(len(name) for name in names[:CLASSES]))
    lines = [*totals, f'{"class":{width}}  {"train":>7}  {"val":>7}']
    for index, name in enumerate(names[:CLASSES]):
        lines.append(f'{name:{width}}  {counts["train"][index]:>7}  {counts["val"][index]:>7}')
    if len(names) > CLASSES:
        least, most = (pick(counts['train'][i] for i in range(len(names))) for pick in (min, max))
        lines.append(f'and {len(names) - CLASSES} more classes; {least} to {most} training images a class')
    return lines


def count_classes(source: Any) -> Counter[int]:
    """Images of each class; an image of several classes counts for each."""
    counts: Counter[int] = Counter()
    for number in range(len(source)):
        target = source.target(number)
        counts.update([target] if isinstance(target, int) else [i for i, on in enumerate(target) if on])
    return counts


def plan_lines(trainer: Trainer) -> list[str]:
    """Epochs, steps and the learning rate through them."""
    recipe, schedule = trainer.recipe, trainer.schedule
    images = recipe.data.batch_size * recipe.run.grad_accum_steps * trainer.processes.count
    rates = schedule.plan()
    shown = sorted({0, *range(0, len(rates), max(1, len(rates) // 10)), round(recipe.schedule.warmup_epochs),
                    len(rates) - 1} & set(range(len(rates))))
    return [f'epochs     {recipe.schedule.epochs}',
            f'steps      {schedule.total_steps}, {schedule.steps_per_epoch} an epoch, of {trainer.task.in_a_step(images)}',
            f'best by    {trainer.metric}', f'optimizer  {recipe.optimizer.opt}, lr {trainer.lr:.4g}',
            *(f'epoch {epoch:<5} lr {rates[epoch]:.4g}' for epoch in shown),
            f'last step  lr {schedule.last:.4g}']


def draw_sheet(trainer: Trainer, batch: Batch, path: Path) -> None:
    """A picture of the batch as the network gets it, the targets below each image."""
    pictures = trainer.task.pictures(trainer.inputs(batch, 0), trainer.sources, trainer.config)
    tiles = [_tile(*picture) for picture in islice(pictures, TILES)]
    columns = min(6, len(tiles))
    width, height = tiles[0].size
    whole = Image.new('RGB', (columns * width, -(-len(tiles) // columns) * height), 'white')
    for number, tile in enumerate(tiles):
        whole.paste(tile, (number % columns * width, number // columns * height))
    path.parent.mkdir(parents=True, exist_ok=True)
    whole.save(path, 'PNG')


def _tile(image: Tensor, text: str) -> Image.Image:
    """An image (C, H, W) in 0 to 1, with a line below it."""
    channels = image[:3] if len(image) >= 3 else image[:1].expand(3, -1, -1)
    levels = (channels.clamp(0, 1) * 255).round().byte().permute(1, 2, 0).contiguous().cpu().numpy()
    picture = Image.fromarray(levels)
    scale = TILE / max(picture.size)
    picture = picture.resize([max(1, round(side * scale)) for side in picture.size], Image.Resampling.NEAREST
                             if scale > 1 else Image.Resampling.BICUBIC)
    tile = Image.new('RGB', (TILE + 8, TILE + 24), 'white')
    tile.paste(picture, (4, 4))
    font, draw = ImageFont.load_default(11), ImageDraw.Draw(tile)
    while draw.textlength(text, font) > TILE and len(text) > 1:
        text = f'{text.rstrip("…")[:-1]}…'
    draw.text((4, TILE + 7), text, 'black', font)
    return tile


def _groups(trainer: Trainer) -> Iterator[list[Batch]]:
    """The batches of one step after the other, through as many epochs as it takes."""
    for epoch in count():
        batches = trainer.loader.batches(epoch)
        while group := list(islice(batches, trainer.recipe.run.grad_accum_steps)):
            yield group


def _numbers(values: Sequence[float]) -> str:
    return ', '.join(f'{value:.4g}' for value in values)
