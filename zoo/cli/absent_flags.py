"""Options of timm's training script that have no meaning here, and what to do instead."""
from __future__ import annotations

_NO_NEED = 'there is no need for it; leave it out.'

ABSENT = {
    # network
    '--input-size': 'use --img-size and --in-chans.',
    '--drop-connect': 'use --drop-path.',
    '--drop-block': 'networks here do not drop blocks of a map; use --drop or --drop-path.',
    '--bn-tf': 'use --bn-momentum and --bn-eps.',
    '--fuser': 'use --torchcompile.',
    '--torchscript': 'use --torchcompile.',
    '--torchcompile-mode': 'use --torchcompile.',
    '--fast-norm': _NO_NEED,
    '--split-bn': 'use --sync-bn, or leave it out: parts of a batch share their statistics.',
    '--dist-bn': 'use --sync-bn for statistics over all processes.',
    '--pretrained-path': 'use --initial-checkpoint.',
    '--model-dtype': 'weights stay float32; use --amp and --amp-dtype.',
    # data
    '--dataset-download': 'zoo.data.create_dataset says how a data set is named and fetched.',
    '--dataset-trust-remote-code': 'data sets are read without running code of theirs.',
    '--train-num-samples': 'the data says how many images it has.',
    '--val-num-samples': 'the data says how many images it has.',
    '--epoch-repeats': 'use more --epochs.',
    '--input-img-mode': 'use --in-chans: 1 reads grey images.',
    '--input-key': 'name the column with the data.',
    '--target-key': 'name the column with the data.',
    '--naflex-patchify-channels-first': 'leave it out: a network says itself how it takes patches.',
    '--pin-mem': _NO_NEED,
    '--no-prefetcher': _NO_NEED,
    '--use-multi-epochs-loader': _NO_NEED,
    '--worker-seeding': 'what is drawn for an image depends on --seed, the epoch and its position alone.',
    # schedule
    '--lr-noise': 'learning rates are not disturbed.',
    '--lr-noise-pct': 'learning rates are not disturbed.',
    '--lr-noise-std': 'learning rates are not disturbed.',
    '--start-epoch': 'use --resume, which knows its epoch.',
    '--no-resume-opt': 'use --initial-checkpoint to begin again from weights.',
    # the run
    '--amp-impl': 'use --amp and --amp-dtype.',
    '--apex-amp': 'use --amp.',
    '--native-amp': 'use --amp.',
    '--no-ddp-bb': _NO_NEED,
    '--synchronize-step': _NO_NEED,
    '--local-rank': 'torchrun says it in the environment.',
    '--local_rank': 'torchrun says it in the environment.',
    '--device-modules': 'use --device.',
    '--model-ema-force-cpu': 'the average stays where the network is; use --model-ema.',
    '--save-images': 'use --dry-run, which draws augmented images.',
    '--tta': 'an image is evaluated once.',
    '--wandb-project': 'use --log-wandb; --experiment names the run.',
    '--wandb-tags': 'use --log-wandb.',
    '--wandb-resume-id': 'use --log-wandb and --resume.',
}
