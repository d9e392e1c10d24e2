"""A recipe: all that says how a network is trained, as frozen records; read strictly, written back."""
from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal


def key(default: Any, about: str) -> Any:
    """A key of a part, and what it is for, in a line that the command's help shows."""
    given: dict[str, Any] = {'default_factory': dict} if default == {} else {'default': default}
    return field(**given, metadata={'about': about})


@dataclass(frozen=True)
class ModelPart:
    """The network."""

    model: str = key('', 'a name as `zoo.create_model` takes it')
    pretrained: bool = key(False, 'start from its published weights')
    initial_checkpoint: str | None = key(None,
        'start from a file of weights; its classifier is left out where the classes differ')
    num_classes: int | None = key(None, "outputs of the network; None takes the data's")
    in_chans: int | None = key(None, 'channels of the images')
    img_size: int | None = key(None, "pixels of the square images in training; None takes the weights'")
    gp: str | None = key(None, 'how the last map is pooled')
    drop: float | None = key(None, 'dropout before the classifier')
    drop_path: float | None = key(None, 'stochastic depth')
    bn_momentum: float | None = key(None, 'momentum of batch normalisation; None leaves what the network has')
    bn_eps: float | None = key(None, 'eps of batch normalisation; None leaves what the network has')
    head_init_scale: float | None = key(None,
        "the classifier's first weights are multiplied by it. Where trained weights get a classifier of a few "
        'classes, 0.01 makes its first answers near even, so that it does not pull at the features at once')
    head_init_bias: float | None = key(None, "what the classifier's bias begins with")
    model_kwargs: dict[str, Any] = key({}, 'any other arguments of the network')
    freeze: int = key(0,
        'the first so many stages are not trained and their normalisation stays as it is; 1 is the stem')
    grad_checkpointing: bool = key(False, 'recompute activations in the backward pass')
    sync_bn: bool = key(False, 'statistics of normalisation over all processes')
    channels_last: bool = key(True, 'memory format')
    torchcompile: bool = key(False, '`torch.compile` the network')


@dataclass(frozen=True)
class DataPart:
    """Images and targets."""

    data: str = key('', 'as `zoo.data.create_dataset` takes it')
    val_data: str | None = key(None, 'another place for the validation images')
    train_split: str | None = key('train', 'name of the training split; null where there are no splits')
    val_split: str | None = key('val', 'name of the validation split; null for no validation')
    hold_out: float = key(0.0,
        'share of the training images of each class that is kept for validation; 0 where there is a split of its '
        'own')
    class_map: str | None = key(None,
        'as `zoo.data.create_dataset` takes it; None numbers the classes of the training split in sorted order, '
        "and takes the validation split's by these names")
    batch_size: int = key(128, 'images a step and process (of one forward pass: see `run.grad_accum_steps`)')
    validation_batch_size: int | None = key(None, 'images a batch in evaluation; None takes `batch_size`')
    workers: int | None = key(None,
        'processes that read images; None takes as many as the machine has processors, at most 4')
    crop_pct: float | None = key(None, "share of the resized image that is seen in evaluation; None takes the weights'")
    crop_mode: str | None = key(None, "how images are resized and cropped in evaluation; None takes the weights'")
    interpolation: str | None = key(None, "how images are resized in evaluation; None takes the weights'")
    mean: tuple[float, ...] | None = key(None,
        "of images, in training and evaluation, by which they are normalised; None takes the weights'")
    std: tuple[float, ...] | None = key(None,
        "of images, in training and evaluation, by which they are normalised; None takes the weights'")
    naflex_loader: bool = key(False,
        'batches of packed patches: images keep their aspect, and fill sequences of several lengths with patches '
        '(for networks that take them: NaFlexVit)')
    naflex_train_seq_lens: tuple[int, ...] = key((128, 256, 576, 784, 1024),
        'numbers of patches that the images of a batch in training have at most, drawn for each batch; batches of the '
        'longest have `batch_size` images, the others as many as have no more patches together')
    naflex_max_seq_len: int = key(576, 'number of patches that an image has at most in evaluation')
    naflex_patch_sizes: tuple[int, ...] | None = key(None,
        "pixels of a patch's side in training, drawn for each batch; None takes the network's. Networks need "
        '`enable_patch_interpolator=True` for others')
    naflex_patch_size_probs: tuple[float, ...] | None = key(None,
        'probabilities of `naflex_patch_sizes`; None: all the same')
    max_unreadable: int = key(0, 'how many images may be unreadable in one pass')
    exif: bool = key(False, 'turn images as their EXIF orientation says, in training and in evaluation')
    scale_targets: bool = key(True,
        'targets that are numbers are learned with mean 0 and deviation 1 over the training images; outputs and '
        'metrics are in their own units')


@dataclass(frozen=True)
class AugmentPart:
    """What happens to training images; see `zoo.data.create_transform`, `zoo.data.Mixup`."""

    no_aug: bool = key(False, 'no distortion at all, only resizing and a crop in the middle')
    train_crop_mode: Literal['rrc', 'rkrc', 'rkrr'] = key('rrc',
        "'rrc' crops and resizes at random, 'rkrc' keeps the ratio of the sides and crops at random, 'rkrr' keeps "
        'it and resizes at random')
    scale: tuple[float, float] = key((0.08, 1.0), "of 'rrc', the share of the image's area")
    ratio: tuple[float, float] = key((3 / 4, 4 / 3), "of 'rrc', width by height")
    train_interpolation: str = key('random', "'random' is bilinear or bicubic")
    hflip: float = key(0.5, 'probability of a flip from left to right')
    vflip: float = key(0.0, 'probability of a flip upside down')
    color_jitter: float | tuple[float, ...] | None = key(0.4,
        'how far brightness, contrast and saturation go; not used together with `aa`, unless `color_jitter_prob` '
        'is set')
    color_jitter_prob: float | None = key(None, 'probability of `color_jitter`; None for always')
    grayscale_prob: float = key(0.0, 'probability of grey')
    gaussian_blur_prob: float = key(0.0, 'probability of a blur')
    aa: str | None = key(None, "'rand-m9-mstd0.5', 'augmix-m3', 'original', 'v0', '3a' ...: see `zoo.data.augment`")
    aug_repeats: int = key(0,
        'each image is drawn so many times in an epoch, with different distortions, in different processes')
    aug_splits: int = key(0, 'parts of a batch: the clean images, then distorted copies (for `loss.loss: jsd`)')
    reprob: float = key(0.0, 'probability of random erasing')
    remode: Literal['const', 'rand', 'pixel'] = key('pixel',
        "erase with black ('const'), one colour ('rand') or noise ('pixel')")
    recount: int = key(1, 'boxes that are erased in an image')
    resplit: bool = key(False, 'no random erasing of the clean part')
    mixup: float = key(0.0, 'alpha of the beta distribution of mixup (arXiv:1710.09412); 0 for none')
    cutmix: float = key(0.0, 'alpha of the beta distribution of cutmix (arXiv:1905.04899); 0 for none')
    cutmix_minmax: tuple[float, float] | None = key(None,
        "least and largest side of the cut box by the image's, in place of `cutmix`")
    mixup_prob: float = key(1.0, 'probability that a batch is mixed')
    mixup_switch_prob: float = key(0.5, 'probability of cutmix in a batch where mixup and cutmix are on')
    mixup_mode: Literal['batch', 'pair', 'elem'] = key('batch', "one draw a 'batch', a 'pair' or each image ('elem')")
    mixup_off_epoch: int = key(0, 'from this epoch on neither mixup nor cutmix; 0 for never')


@dataclass(frozen=True)
class DensePart:
    """Boxes, or a class for every pixel, in place of classes of whole images; see `zoo.dense`."""

    task: Literal['detect', 'segment'] | None = key(None,
        "'detect' for boxes, 'segment' for pixels; None for whole images")
    head: str | None = key(None, "of `zoo.dense.create_detector` or `create_segmenter`; None: 'fcos', 'unet'")
    head_kwargs: dict[str, Any] = key({},
        'more arguments of the head, such as min_size, pyramid_channels or output_stride')
    frozen_bn: bool | None = key(None,
        "batch normalisation of the backbone, which is the recipe's model, stays as it is; None: where a detector "
        'begins with trained weights')
    backbone_lr: float = key(1.0, 'learning rate of the backbone by that of the head')
    classes: tuple[str, ...] | None = key(None,
        'names of the classes; None takes those of the boxes. Masks need them, in the order of their indices')
    ignore_index: int | None = key(255, 'of masks, the index of pixels without a class; null where every pixel has one')
    on_bad_box: Literal['error', 'drop'] = key('error',
        "'drop' leaves out boxes without area or outside of their image")
    image_folder: str | None = key(None,
        "the folder of images in the data's folder, if not as usual; '{split}' stands for the split")
    annotation_folder: str | None = key(None,
        "the folder of boxes or masks in the data's folder, if not as usual; '{split}' stands for the split")
    list_folder: str | None = key(None, "the folder of the lists of splits in the data's folder, if not as usual")
    crop: tuple[int, int] | None = key(None,
        'height and width of what is cut out of training images; None leaves them whole')
    fit: tuple[int, int] | None = key(None,
        'height and width that an image just fits into at a scale of 1, before the crop; None takes `crop`')
    jitter: tuple[float, float] = key((0.5, 2.0),
        'the least and the largest scale that images are resized by, of what fits into `fit`')


@dataclass(frozen=True)
class LossPart:
    """The loss function."""

    loss: Literal['ce', 'bce', 'jsd', 'asymmetric', 'focal', 'mse', 'l1'] | None = key(None,
        "'ce' (with soft targets too), 'bce', 'jsd', 'asymmetric', 'focal'; 'mse' and 'l1' for numbers. None: "
        "'ce' for one class an image, 'bce' for several, 'mse' for numbers")
    naflex_loss_scale: Literal['none', 'sqrt', 'linear'] = key('linear',
        "with `naflex_loader`, the loss of a batch counts by its images over `batch_size` ('linear'), by the root of "
        "that, or all the same ('none')")
    smoothing: float = key(0.1, 'label smoothing')
    bce_target_thresh: float | None = key(None, "in 'bce', soft targets above it are 1, the others 0")
    bce_sum: bool = key(False, "in 'bce', sum over classes, not mean")
    bce_pos_weight: float | None = key(None, "weight of positive targets in 'bce'")
    jsd_alpha: float = key(12.0, "weight of the divergence in 'jsd' (arXiv:1912.02781)")
    gamma_neg: float = key(4.0, "focus of negative targets in 'asymmetric' (arXiv:2009.14119)")
    gamma_pos: float = key(1.0, "focus of positive targets in 'asymmetric'")
    asymmetric_clip: float = key(0.05, "in 'asymmetric', negative probabilities below it count nothing")
    focal_alpha: float = key(0.25, "weight of positive targets in 'focal'")
    focal_gamma: float = key(2.0, "focus of 'focal' (arXiv:1708.02002)")


@dataclass(frozen=True)
class DistillPart:
    """A teacher to learn from."""

    kd_model_name: str | None = key(None, 'the teacher; None for none')
    kd_checkpoint: str | None = key(None, "a file of the teacher's weights; None takes published ones")
    kd_distill_type: Literal['logit', 'feature', 'token'] = key('logit',
        "'logit' (KL of softened logits, arXiv:1503.02531), 'feature' (of the last maps), 'token' (the "
        'distillation head learns the teacher, arXiv:2012.12877)')
    kd_hard: bool = key(True, "the distillation head learns the teacher's first class, not its probabilities")
    kd_temperature: float = key(1.0, 'temperature that softens logits')
    distill_loss_weight: float = key(1.0, "weight of the teacher's loss")
    task_loss_weight: float = key(1.0, "weight of the targets' loss")


@dataclass(frozen=True)
class OptimizerPart:
    """The optimizer; see `zoo.train.optim.create_optimizer_v2`."""

    opt: str = key('sgd', 'a name of `zoo.train.list_optimizers()`')
    opt_eps: float | None = key(None, "eps of the optimizer; None takes the optimizer's own")
    opt_betas: tuple[float, ...] | None = key(None, "betas of the optimizer; None takes the optimizer's own")
    momentum: float = key(0.9, 'of optimizers that have a momentum')
    weight_decay: float = key(2e-5, 'weight decay, of all parameters but biases and those of normalisation')
    layer_decay: float | None = key(None, 'the learning rate of a layer is so many times that of the one after it')
    opt_kwargs: dict[str, Any] = key({}, 'any other arguments of the optimizer')
    lr: float | None = key(None,
        'learning rate; None: lr_base * (images a step / lr_base_size), or its root, by `lr_base_scale`')
    lr_base: float = key(0.1, 'learning rate for `lr_base_size` images a step')
    lr_base_size: int = key(256, 'images a step that `lr_base` is for')
    lr_base_scale: Literal['linear', 'sqrt'] | None = key(None, "'linear' or 'sqrt'; None goes by the optimizer")
    clip_grad: float | None = key(None, 'limit of the gradients; None for none')
    clip_mode: Literal['norm', 'value', 'agc'] = key('norm',
        "what it limits: their 'norm', each 'value', or their norm by that of the weights ('agc', "
        'arXiv:2102.06171)')


@dataclass(frozen=True)
class SchedulePart:
    """How the learning rate changes; see `zoo.train.schedules`."""

    epochs: int = key(300, 'epochs in all, warm-up and cool-down included')
    sched: Literal['cosine', 'step', 'multistep', 'poly', 'plateau', 'tanh', 'constant'] = key('cosine', 'its curve')
    sched_on_updates: bool = key(False, 'change the learning rate every step, not every epoch')
    warmup_lr: float = key(1e-5, 'learning rate that the warm-up starts from')
    warmup_epochs: float = key(5, 'length of the warm-up')
    warmup_prefix: bool = key(False, 'the schedule starts after the warm-up, not beneath it')
    cooldown_epochs: float = key(0, 'the last epochs, which keep the last learning rate')
    min_lr: float = key(0.0, 'the last learning rate')
    decay_epochs: float = key(90, "of 'step', epochs between two falls")
    decay_milestones: tuple[float, ...] = key((90, 180, 270), "of 'multistep', epochs of the falls")
    decay_rate: float = key(0.1, 'factor of a fall')
    lr_k_decay: float = key(1.0, "above 1, 'cosine' and 'poly' stay high for longer")
    poly_power: float = key(0.5, "exponent of 'poly'")
    patience_epochs: int = key(10, "of 'plateau', epochs without improvement before a fall")
    lr_cycle_mul: float = key(1.0, 'length of a cycle by the one before')
    lr_cycle_decay: float = key(0.5, 'height of a cycle by the one before')
    lr_cycle_limit: int = key(1, 'how many cycles')


@dataclass(frozen=True)
class EmaPart:
    """A moving average of the weights, which is what is evaluated and kept as the best."""

    model_ema: bool = key(False, 'keep such an average')
    model_ema_decay: float = key(0.9998, 'share of the average that a step leaves')
    model_ema_warmup: bool = key(False,
        'a smaller decay in the first steps: (1 + step) / (10 + step) until it reaches the decay')


@dataclass(frozen=True)
class RunPart:
    """The run itself."""

    seed: int = key(42, 'seed of everything that is drawn')
    device: str | None = key(None, "'cpu', 'cuda', 'mps'; None takes an accelerator if there is one")
    amp: bool = key(False, 'mixed precision')
    amp_dtype: Literal['bfloat16', 'float16'] = key('bfloat16', 'the lower precision of `amp`')
    grad_accum_steps: int = key(1, 'batches whose gradients are added up for a step')
    distributed: Literal['ddp', 'fsdp'] = key('ddp', "'ddp' or 'fsdp' where torchrun has started several processes")
    output: str = key('runs', "folder of runs: a run's folder is output/experiment")
    experiment: str | None = key(None, "name of the run's folder; None makes it of time, network and size")
    log_interval: int = key(50, 'steps between lines of the log')
    recovery_interval: int = key(0, 'steps between checkpoints within an epoch; 0 for none')
    checkpoint_hist: int = key(3, 'best checkpoints kept beside model_best')
    eval_metric: str | None = key(None,
        'what the best is judged by, val_loss for example; None: top1, mAP, mae, AP or mIoU by the task')
    val_interval: int = key(1, 'epochs between evaluations')
    max_hours: float | None = key(None,
        'the run ends after the last step that fits into so many hours, and can be resumed; None: no limit')
    tensorboard: bool = key(False, 'also log to TensorBoard')
    log_wandb: bool = key(False, 'also log to Weights & Biases')


@dataclass(frozen=True)
class Recipe:
    """A whole recipe. The names of all keys are different, so that each is a flag of the command as well."""

    model: ModelPart = field(default_factory=ModelPart)
    data: DataPart = field(default_factory=DataPart)
    augment: AugmentPart = field(default_factory=AugmentPart)
    dense: DensePart = field(default_factory=DensePart)
    loss: LossPart = field(default_factory=LossPart)
    distill: DistillPart = field(default_factory=DistillPart)
    optimizer: OptimizerPart = field(default_factory=OptimizerPart)
    schedule: SchedulePart = field(default_factory=SchedulePart)
    ema: EmaPart = field(default_factory=EmaPart)
    run: RunPart = field(default_factory=RunPart)
