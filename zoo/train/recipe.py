"""A recipe: all that says how a network is trained, as frozen records; read strictly, written back."""
from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal


@dataclass(frozen=True)
class ModelPart:
    """The network.

    Attributes:
        model: a name as `zoo.create_model` takes it.
        pretrained: start from its published weights.
        initial_checkpoint: start from a file of weights; its classifier is left out where the classes differ.
        num_classes: outputs of the network; None takes the data's.
        in_chans: channels of the images. img_size: pixels of the square images in training; None takes the weights'.
        gp: how the last map is pooled. drop: dropout before the classifier. drop_path: stochastic depth.
        bn_momentum, bn_eps: of batch normalisation. None leaves what the network has.
        head_init_scale: the classifier's first weights are multiplied by it. Where trained weights get a classifier of a
            few classes, 0.01 makes its first answers near even, so that it does not pull at the features at once.
        head_init_bias: what its bias begins with.
        model_kwargs: any other arguments of the network.
        freeze: the first so many stages are not trained and their normalisation stays as it is; 1 is the stem.
        grad_checkpointing: recompute activations in the backward pass.
        sync_bn: statistics of normalisation over all processes.
        channels_last: memory format. torchcompile: `torch.compile` the network.
    """

    model: str = ''
    pretrained: bool = False
    initial_checkpoint: str | None = None
    num_classes: int | None = None
    in_chans: int | None = None
    img_size: int | None = None
    gp: str | None = None
    drop: float | None = None
    drop_path: float | None = None
    bn_momentum: float | None = None
    bn_eps: float | None = None
    head_init_scale: float | None = None
    head_init_bias: float | None = None
    model_kwargs: dict[str, Any] = field(default_factory=dict)
    freeze: int = 0
    grad_checkpointing: bool = False
    sync_bn: bool = False
    channels_last: bool = True
    torchcompile: bool = False


@dataclass(frozen=True)
class DataPart:
    """Images and targets.

    Attributes:
        data: as `zoo.data.create_dataset` takes it. val_data: another place for the validation images.
        train_split, val_split: names of the splits; null where there are none.
        hold_out: share of the training images of each class that is kept for validation; 0 where there is a split of
            its own.
        class_map: as `zoo.data.create_dataset` takes it; None numbers the classes of the training split in
            sorted order, and takes the validation split's by these names.
        batch_size: images a step and process (of one forward pass: see `run.grad_accum_steps`).
        validation_batch_size: None takes `batch_size`.
        workers: processes that read images; None takes as many as the machine has processors, at most 4.
        crop_pct, crop_mode, interpolation, mean, std: of evaluation, mean and std of training too; None takes the
            weights'.
        max_unreadable: how many images may be unreadable in one pass.
        exif: turn images as their EXIF orientation says, in training and in evaluation.
        scale_targets: targets that are numbers are learned with mean 0 and deviation 1 over the training images;
            outputs and metrics are in their own units.
    """

    data: str = ''
    val_data: str | None = None
    train_split: str | None = 'train'
    val_split: str | None = 'val'
    hold_out: float = 0.0
    class_map: str | None = None
    batch_size: int = 128
    validation_batch_size: int | None = None
    workers: int | None = None
    crop_pct: float | None = None
    crop_mode: str | None = None
    interpolation: str | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    max_unreadable: int = 0
    exif: bool = False
    scale_targets: bool = True


@dataclass(frozen=True)
class AugmentPart:
    """What happens to training images; see `zoo.data.create_transform`, `zoo.data.Mixup`.

    Attributes:
        no_aug: no distortion at all, only resizing and a crop in the middle.
        train_crop_mode: 'rrc' crops and resizes at random, 'rkrc' keeps the ratio of the sides and crops at random,
            'rkrr' keeps it and resizes at random.
        scale: of 'rrc', the share of the image's area. ratio: of 'rrc', width by height.
        train_interpolation: 'random' is bilinear or bicubic.
        hflip, vflip: probabilities of a flip. color_jitter: how far brightness, contrast and saturation go; not used
            together with `aa`, unless `color_jitter_prob` is set. color_jitter_prob: None for always.
        grayscale_prob, gaussian_blur_prob: probabilities.
        aa: 'rand-m9-mstd0.5', 'augmix-m3', 'original', 'v0', '3a' ...: see `zoo.data.augment`.
        aug_repeats: each image is drawn so many times in an epoch, with different distortions, in different processes.
        aug_splits: parts of a batch: the clean images, then distorted copies (for `loss.loss: jsd`).
        reprob: probability of random erasing. remode: erase with black ('const'), one colour ('rand') or noise
            ('pixel'). recount: erased boxes an image. resplit: no random erasing of the clean part.
        mixup, cutmix: alpha of the beta distribution; 0 for neither. cutmix_minmax: sides of the box, in place of it.
        mixup_prob: probability that a batch is mixed. mixup_switch_prob: probability of cutmix where both may be.
        mixup_mode: one draw a 'batch', a 'pair' or each image ('elem').
        mixup_off_epoch: from this epoch on neither mixup nor cutmix; 0 for never.
    """

    no_aug: bool = False
    train_crop_mode: Literal['rrc', 'rkrc', 'rkrr'] = 'rrc'
    scale: tuple[float, float] = (0.08, 1.0)
    ratio: tuple[float, float] = (3 / 4, 4 / 3)
    train_interpolation: str = 'random'
    hflip: float = 0.5
    vflip: float = 0.0
    color_jitter: float | tuple[float, ...] | None = 0.4
    color_jitter_prob: float | None = None
    grayscale_prob: float = 0.0
    gaussian_blur_prob: float = 0.0
    aa: str | None = None
    aug_repeats: int = 0
    aug_splits: int = 0
    reprob: float = 0.0
    remode: Literal['const', 'rand', 'pixel'] = 'pixel'
    recount: int = 1
    resplit: bool = False
    mixup: float = 0.0
    cutmix: float = 0.0
    cutmix_minmax: tuple[float, float] | None = None
    mixup_prob: float = 1.0
    mixup_switch_prob: float = 0.5
    mixup_mode: Literal['batch', 'pair', 'elem'] = 'batch'
    mixup_off_epoch: int = 0


@dataclass(frozen=True)
class DensePart:
    """Boxes, or a class for every pixel, in place of classes of whole images; see `zoo.dense`.

    Attributes:
        task: 'detect' for boxes, 'segment' for pixels; None for whole images.
        head: of `zoo.dense.create_detector` or `create_segmenter`; None: 'fcos', 'unet'. head_kwargs: more arguments of
            these, such as min_size, pyramid_channels or output_stride.
        frozen_bn: batch normalisation of the backbone, which is the recipe's model, stays as it is; None: where a
            detector begins with trained weights.
        backbone_lr: learning rate of the backbone by that of the head.
        classes: names of the classes; None takes those of the boxes. Masks need them, in the order of their indices.
        ignore_index: of masks, the index of pixels without a class; null where every pixel has one.
        on_bad_box: 'drop' leaves out boxes without area or outside of their image.
        image_folder, annotation_folder, list_folder: where images, boxes or masks, and lists of splits are in the
            data's folder, if not as usual; see `zoo.dense.boxes.box_dataset` and `zoo.dense.masks.voc_masks`. '{split}'
            stands for the split.
        crop: height and width of what is cut out of training images; None leaves them whole.
        fit: height and width that an image just fits into at a scale of 1, before the crop; None takes `crop`.
        jitter: the least and the most that it is resized to by `fit`.
    """

    task: Literal['detect', 'segment'] | None = None
    head: str | None = None
    head_kwargs: dict[str, Any] = field(default_factory=dict)
    frozen_bn: bool | None = None
    backbone_lr: float = 1.0
    classes: tuple[str, ...] | None = None
    ignore_index: int | None = 255
    on_bad_box: Literal['error', 'drop'] = 'error'
    image_folder: str | None = None
    annotation_folder: str | None = None
    list_folder: str | None = None
    crop: tuple[int, int] | None = None
    fit: tuple[int, int] | None = None
    jitter: tuple[float, float] = (0.5, 2.0)


@dataclass(frozen=True)
class LossPart:
    """What is made small.

    Attributes:
        loss: 'ce' (with soft targets too), 'bce', 'jsd', 'asymmetric', 'focal'; 'mse' and 'l1' for numbers. None: 'ce'
            for one class an image, 'bce' for several, 'mse' for numbers.
        smoothing: label smoothing.
        bce_target_thresh: soft targets above it are 1, the others 0. bce_sum: sum over classes, not mean.
        bce_pos_weight: weight of positive targets.
        jsd_alpha: weight of the divergence (arXiv:1912.02781).
        gamma_neg, gamma_pos: focus of negative and positive targets in 'asymmetric' (arXiv:2009.14119).
        asymmetric_clip: negative probabilities below it count nothing.
        focal_alpha: weight of positive targets. focal_gamma: focus (arXiv:1708.02002).
    """

    loss: Literal['ce', 'bce', 'jsd', 'asymmetric', 'focal', 'mse', 'l1'] | None = None
    smoothing: float = 0.1
    bce_target_thresh: float | None = None
    bce_sum: bool = False
    bce_pos_weight: float | None = None
    jsd_alpha: float = 12.0
    gamma_neg: float = 4.0
    gamma_pos: float = 1.0
    asymmetric_clip: float = 0.05
    focal_alpha: float = 0.25
    focal_gamma: float = 2.0


@dataclass(frozen=True)
class DistillPart:
    """A teacher to learn from.

    Attributes:
        kd_model_name: the teacher; None for none. kd_checkpoint: a file of its weights; None takes published ones.
        kd_distill_type: 'logit' (KL of softened logits, arXiv:1503.02531), 'feature' (of the last maps), 'token' (the
            distillation head learns the teacher, arXiv:2012.12877).
        kd_hard: the distillation head learns the teacher's first class, not its probabilities.
        kd_temperature: softens the logits.
        distill_loss_weight, task_loss_weight: weights of both losses.
    """

    kd_model_name: str | None = None
    kd_checkpoint: str | None = None
    kd_distill_type: Literal['logit', 'feature', 'token'] = 'logit'
    kd_hard: bool = True
    kd_temperature: float = 1.0
    distill_loss_weight: float = 1.0
    task_loss_weight: float = 1.0


@dataclass(frozen=True)
class OptimizerPart:
    """How weights move; see `zoo.train.optim.create_optimizer_v2`.

    Attributes:
        opt: a name of `zoo.train.list_optimizers()`.
        opt_eps, opt_betas: None takes the optimizer's. momentum: where the optimizer has one. opt_kwargs: any other
            arguments of it.
        weight_decay: not of biases and normalisation.
        layer_decay: the learning rate of a layer is so many times that of the one after it.
        lr: learning rate; None: lr_base * (images a step / lr_base_size), or its root, by `lr_base_scale`.
        lr_base: learning rate for `lr_base_size` images a step. lr_base_size: see lr.
        lr_base_scale: 'linear' or 'sqrt'; None goes by the optimizer.
        clip_grad: limit of the gradients; None for none. clip_mode: what it limits: their 'norm', each 'value', or
            their norm by that of the weights ('agc', arXiv:2102.06171).
    """

    opt: str = 'sgd'
    opt_eps: float | None = None
    opt_betas: tuple[float, ...] | None = None
    momentum: float = 0.9
    weight_decay: float = 2e-5
    layer_decay: float | None = None
    opt_kwargs: dict[str, Any] = field(default_factory=dict)
    lr: float | None = None
    lr_base: float = 0.1
    lr_base_size: int = 256
    lr_base_scale: Literal['linear', 'sqrt'] | None = None
    clip_grad: float | None = None
    clip_mode: Literal['norm', 'value', 'agc'] = 'norm'


@dataclass(frozen=True)
class SchedulePart:
    """How the learning rate changes; see `zoo.train.schedules`.

    Attributes:
        epochs: in all, warm-up and cool-down included. sched: the curve.
        sched_on_updates: change it every step, not every epoch.
        warmup_lr: where the warm-up starts. warmup_epochs: how long it is. warmup_prefix: the schedule starts after it,
            not beneath it.
        cooldown_epochs: the last epochs, which keep the last learning rate.
        min_lr: the last learning rate.
        decay_epochs: of 'step', epochs between two falls. decay_milestones: of 'multistep', epochs of the falls.
        decay_rate: factor of a fall. lr_k_decay: above 1, 'cosine' and 'poly' stay high for longer.
        poly_power: exponent of 'poly'. patience_epochs: of 'plateau', epochs without improvement before a fall.
        lr_cycle_limit: how many cycles. lr_cycle_mul: length of a cycle by the one before. lr_cycle_decay: height of a
            cycle by the one before.
    """

    epochs: int = 300
    sched: Literal['cosine', 'step', 'multistep', 'poly', 'plateau', 'tanh', 'constant'] = 'cosine'
    sched_on_updates: bool = False
    warmup_lr: float = 1e-5
    warmup_epochs: float = 5
    warmup_prefix: bool = False
    cooldown_epochs: float = 0
    min_lr: float = 0.0
    decay_epochs: float = 90
    decay_milestones: tuple[float, ...] = (90, 180, 270)
    decay_rate: float = 0.1
    lr_k_decay: float = 1.0
    poly_power: float = 0.5
    patience_epochs: int = 10
    lr_cycle_mul: float = 1.0
    lr_cycle_decay: float = 0.5
    lr_cycle_limit: int = 1


@dataclass(frozen=True)
class EmaPart:
    """A moving average of the weights, which is what is evaluated and kept as the best.

    Attributes:
        model_ema: keep it. model_ema_decay: share of the average that a step leaves.
        model_ema_warmup: a smaller decay in the first steps: (1 + step) / (10 + step) until it reaches the decay.
    """

    model_ema: bool = False
    model_ema_decay: float = 0.9998
    model_ema_warmup: bool = False


@dataclass(frozen=True)
class RunPart:
    """The run itself.

    Attributes:
        output, experiment: the run's folder is output/experiment; without `experiment` its name is made of time,
            network and size.
        seed: of everything that is drawn.
        device: 'cpu', 'cuda', 'mps'; None takes an accelerator if there is one.
        amp: mixed precision. amp_dtype: the lower one.
        grad_accum_steps: batches whose gradients are added up for a step.
        distributed: 'ddp' or 'fsdp' where torchrun has started several processes.
        log_interval: steps between lines of the log. recovery_interval: steps between checkpoints within an epoch; 0
            for none.
        checkpoint_hist: best checkpoints kept beside model_best.
        eval_metric: what the best is judged by, val_loss for example; None: top1, mAP, mae, AP or mIoU by the task.
        val_interval: epochs between evaluations.
        max_hours: the run ends after the last step that fits into so many hours, and can be resumed; None: no limit.
        tensorboard, log_wandb: also log there.
    """

    seed: int = 42
    device: str | None = None
    amp: bool = False
    amp_dtype: Literal['bfloat16', 'float16'] = 'bfloat16'
    grad_accum_steps: int = 1
    distributed: Literal['ddp', 'fsdp'] = 'ddp'
    output: str = 'runs'
    experiment: str | None = None
    log_interval: int = 50
    recovery_interval: int = 0
    checkpoint_hist: int = 3
    eval_metric: str | None = None
    val_interval: int = 1
    max_hours: float | None = None
    tensorboard: bool = False
    log_wandb: bool = False


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
