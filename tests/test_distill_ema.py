"""Teachers, averages of weights, and batch normalisation over several processes."""
from __future__ import annotations

import copy
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from conftest import randomize
from torch import nn
from torch.nn import functional as F

import zoo
from zoo.compat.utils import freeze_batch_norm_2d
from zoo.train import ModelEma, create_distillation, create_optimizer_v2
from zoo.train.distill import Distillation, FeatureStudent, map_distance, softened_divergence
from zoo.train.recipe import DistillPart
from zoo.train.sync_bn import CpuSyncBatchNorm, convert_sync_batchnorm

ROOT = Path(__file__).parent.parent
CLASSES = 5
IMAGENET, HALF = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)), ((0.5,) * 3, (0.5,) * 3)


def small(name='mobilenetv3_small_050', seed=0, **options):
    torch.manual_seed(seed)
    return zoo.create_model(name, num_classes=CLASSES, **options)


def images(count=4, size=32, seed=0):
    return torch.randn(count, 3, size, size, generator=torch.Generator().manual_seed(seed))


TARGET = torch.tensor([0, 1, 2, 3])


# --- teachers

def test_softened_divergence_is_the_formula_and_keeps_the_size_of_gradients():
    draw = torch.Generator().manual_seed(0)
    ours, theirs = (torch.randn(6, CLASSES, generator=draw, dtype=torch.float64) for _ in range(2))
    for t in (1.0, 4.0):
        p, q = (theirs / t).softmax(1), (ours / t).softmax(1)
        assert torch.isclose(softened_divergence(ours, theirs, t), t * t * (p * (p / q).log()).sum(1).mean())
    assert softened_divergence(ours, ours, 3.0).abs() < 1e-12
    ours.requires_grad_()
    sizes = [torch.autograd.grad(softened_divergence(ours, theirs, t), ours)[0].norm() for t in (20.0, 40.0)]
    assert sizes[0] / sizes[1] == pytest.approx(1, rel=0.05)


def test_logits_are_learned_and_the_teacher_stays_as_it_is():
    student, teacher = small(), small('mobilenetv3_small_075', seed=1)
    part = DistillPart(kd_model_name='x', kd_temperature=2.0, distill_loss_weight=0.7, task_loss_weight=0.3)
    learning = Distillation(student, teacher, part)
    before = copy.deepcopy(teacher.state_dict())
    x = images()
    output = learning.student(x)
    loss, logits = learning.loss(output, x, TARGET, F.cross_entropy)
    expected = 0.3 * F.cross_entropy(output, TARGET) + 0.7 * softened_divergence(output, teacher(x), 2.0)
    assert torch.isclose(loss, expected) and logits is output and learning.student is student
    loss.backward()
    assert not teacher.training and all(p.grad is None for p in teacher.parameters())
    assert all(torch.equal(v, before[k]) for k, v in teacher.state_dict().items())
    assert not learning.extra_parameters() and not learning.state_dict()


def test_a_teacher_sees_images_in_its_own_normalisation():
    pictures = images().sigmoid()
    normal = {norm: (pictures - torch.tensor(norm[0]).view(3, 1, 1)) / torch.tensor(norm[1]).view(3, 1, 1)
              for norm in (IMAGENET, HALF)}
    teacher = small(seed=1)
    learning = Distillation(small(), teacher, DistillPart(), IMAGENET, HALF)
    torch.testing.assert_close(learning.ask(normal[IMAGENET]), teacher(normal[HALF]), rtol=1e-4, atol=1e-5)
    assert (teacher(normal[IMAGENET]) - teacher(normal[HALF])).abs().max() > 1e-3
    assert Distillation(small(), teacher, DistillPart(), IMAGENET, IMAGENET).change is None


def test_features_are_learned_through_a_projection():
    student, teacher = small(), zoo.create_model('mobilenetv4_conv_small_050', num_classes=3)
    learning = Distillation(student, teacher, DistillPart(kd_distill_type='feature', distill_loss_weight=2.0))
    x = images(size=64)
    optimizer = create_optimizer_v2(student, 'sgd', lr=0.05)
    optimizer.add_param_group({'params': learning.extra_parameters()})
    losses = []
    for _ in range(8):
        output = learning.student(x)
        loss, logits = learning.loss(output, x, TARGET, lambda logits, target: logits.sum() * 0)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.9 * losses[0] and logits.shape == (4, CLASSES)
    assert set(learning.state_dict()) == {'weight', 'bias'}
    other = Distillation(small(), teacher, learning.part)
    other.load_state_dict(learning.state_dict())
    assert torch.equal(other.extra_parameters()[0], learning.extra_parameters()[0])
    learning.student.eval()
    assert torch.equal(learning.student(x), student(x))
    same = FeatureStudent(student, student.num_features)
    assert isinstance(same.projection, nn.Identity)


def test_maps_are_compared_by_direction_at_the_smaller_size():
    a = torch.randn(2, 6, 4, 4, dtype=torch.float64)
    assert map_distance(a, 3 * a) < 1e-12 and map_distance(a, -a) == pytest.approx(4)
    assert map_distance(a, F.adaptive_avg_pool2d(a, 2)) < 1e-12


@pytest.mark.parametrize('hard', [True, False])
def test_a_second_classifier_learns_the_teacher(hard):
    student, teacher = small('efficientformerv2_s0', distillation=True, img_size=64), small(seed=1)
    learning = Distillation(student, teacher, DistillPart(kd_distill_type='token', kd_hard=hard, kd_temperature=3.0,
                                                          distill_loss_weight=0.5, task_loss_weight=0.5))
    x = images(size=64)
    output = learning.student(x)
    loss, logits = learning.loss(output, x, TARGET, F.cross_entropy)
    answer = teacher(x)
    second = F.cross_entropy(output[1], answer.argmax(1)) if hard else softened_divergence(output[1], answer, 3.0)
    assert torch.isclose(loss, 0.5 * F.cross_entropy(output[0], TARGET) + 0.5 * second)
    assert torch.allclose(logits, (output[0] + output[1]) / 2)
    loss.backward()
    assert student.head.weight.grad.abs().sum() > 0 and student.head_dist.weight.grad.abs().sum() > 0


def test_a_teacher_of_other_classes_is_refused(tmp_path):
    path = tmp_path / 'teacher.pth'
    torch.save(zoo.create_model('mobilenetv3_small_075', num_classes=CLASSES + 2).state_dict(), path)
    part = DistillPart(kd_model_name='mobilenetv3_small_075', kd_checkpoint=str(path))
    words = f'(?s)The teacher: .*teacher.pth.*has {CLASSES + 2} classes, and the network {CLASSES}'
    with pytest.raises(ValueError, match=words):
        create_distillation(small(), part, HALF)


def test_a_recipes_teacher(tmp_path):
    path = tmp_path / 'teacher.pth'
    torch.save(randomize(small('mobilenetv3_small_075')).state_dict(), path)
    learning = create_distillation(small(), DistillPart(kd_model_name='mobilenetv3_small_075', kd_checkpoint=str(path)), HALF)
    assert learning.change is not None and learning.teacher.num_classes == CLASSES
    assert torch.equal(learning.teacher.classifier.weight, torch.load(path)['classifier.weight'])
    for part, message in ((DistillPart(), 'kd_model_name'), (DistillPart(kd_distill_type='logits'), "'logits'")):
        with pytest.raises(ValueError, match=message):
            create_distillation(small(), part) if part.kd_distill_type == 'logit' else Distillation(small(), small(), part)
    with pytest.raises(ValueError, match='3 classes and the network 5'):
        Distillation(small(), zoo.create_model('mobilenetv3_small_050', num_classes=3), DistillPart())
    with pytest.raises(ValueError, match='distillation head'):
        Distillation(small(), small(), DistillPart(kd_distill_type='token'))
    with pytest.raises(ValueError, match='distillation=True'):
        Distillation(small('efficientformerv2_s0', distillation=False), small(), DistillPart(kd_distill_type='token'))


# --- averages

def train_a_step(model, optimizer, seed):
    optimizer.zero_grad()
    model(images(seed=seed)).square().mean().backward()
    optimizer.step()


def test_an_average_is_timms():
    pytest.importorskip('timm.utils')
    from timm.utils import ModelEmaV3
    model = small().double()
    ours, theirs = ModelEma(model, 0.9), ModelEmaV3(model, 0.9)
    optimizer = create_optimizer_v2(model, 'sgd', lr=0.1)
    for step in range(4):
        optimizer.zero_grad()
        model(images(seed=step).double()).square().mean().backward()
        optimizer.step()
        ours.update(model), theirs.update(model)
    for (name, a), b in zip(ours.module.state_dict().items(), theirs.module.state_dict().values(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-14, msg=name)
    assert (ours.module.conv_stem.weight - model.conv_stem.weight).abs().max() > 1e-6
    assert ours.module.bn1.num_batches_tracked == model.bn1.num_batches_tracked == 4
    assert not ours.module.training and not any(p.requires_grad for p in ours.module.parameters())


def test_warm_up_of_an_average():
    ema = ModelEma(nn.Linear(2, 2), 0.9998, warmup=True)
    assert [ema.decay_at(step) for step in (0, 1, 8, 10 ** 6)] == [0.1, 2 / 11, 0.5, 0.9998]
    model = nn.Linear(2, 2)
    start = ema.module.weight.clone()
    ema.update(model)
    torch.testing.assert_close(ema.module.weight, 0.1 * start + 0.9 * model.weight)
    with pytest.raises(ValueError, match='between 0 and 1'):
        ModelEma(model, 1.5)


def test_an_average_goes_on_after_a_stop():
    model = small()
    optimizer = create_optimizer_v2(model, 'sgd', lr=0.1)
    whole = ModelEma(model, 0.9, warmup=True)
    for step in range(4):
        train_a_step(model, optimizer, step)
        whole.update(model)
        if step == 1:
            saved = copy.deepcopy(whole.state_dict())
            rest = ModelEma(small(seed=3), 0.5, warmup=True)
            rest.decay = 0.9
            rest.load_state_dict(saved)
        elif step > 1:
            rest.update(model)
    assert rest.steps == whole.steps == 4
    assert all(torch.equal(a, b) for a, b in zip(whole.module.state_dict().values(), rest.module.state_dict().values()))


# --- batch normalisation of several processes

@pytest.mark.parametrize('name, size', [('efficientnet_b0', 64), ('mobilenetv3_small_100', 64), ('efficientformer_l1', 224),
                                        ('efficientformerv2_s0', 224), ('mobilenetv4_hybrid_medium', 64),
                                        ('hardcorenas_a', 64), ('tf_efficientnet_lite0', 64)])
def test_conversion_keeps_logits_and_names(name, size):
    model = randomize(zoo.create_model(name, num_classes=CLASSES)).eval()
    x = images(1, size)
    with torch.no_grad():
        before, state = model(x), model.state_dict()
        converted = convert_sync_batchnorm(model)
        assert torch.equal(converted(x), before)
    assert list(converted.state_dict()) == list(state)
    assert not any(type(m) in (nn.BatchNorm1d, nn.BatchNorm2d) for m in converted.modules())
    assert any(isinstance(m, nn.SyncBatchNorm) for m in converted.modules())
    cpu = convert_sync_batchnorm(randomize(zoo.create_model(name, num_classes=CLASSES)).eval(), device_type='cpu')
    assert not any(isinstance(m, nn.SyncBatchNorm) for m in cpu.modules())
    assert any(isinstance(m, CpuSyncBatchNorm) for m in cpu.modules())


def test_torchs_own_converter_changes_timms_network_and_this_one_does_not():
    timm = pytest.importorskip('timm')
    model = randomize(timm.create_model('efficientnet_b0')).eval()
    x = images(1, 64)
    with torch.no_grad():
        before = model(x)
        torchs = nn.SyncBatchNorm.convert_sync_batchnorm(copy.deepcopy(model))(x)
        ours = convert_sync_batchnorm(copy.deepcopy(model))
        assert (torchs - before).abs().max() > 0.1 * before.abs().max()
        assert torch.equal(ours(x), before)
        assert torch.equal(convert_sync_batchnorm(copy.deepcopy(model), device_type='cpu')(x), before)
        assert torch.equal(freeze_batch_norm_2d(ours)(x), before) or \
            (ours(x) - before).abs().max() < 1e-4 * before.abs().max()


def test_conversion_keeps_what_was_set_and_says_what_it_cannot_keep():
    class Scaled(nn.BatchNorm2d):
        def forward(self, x):
            return 2 * super().forward(x)

    norm = nn.BatchNorm2d(4, eps=1e-3, momentum=0.3, affine=False).eval()
    sync = convert_sync_batchnorm(norm)
    assert (sync.eps, sync.momentum, sync.affine, sync.training) == (1e-3, 0.3, False, False)
    assert sync.running_mean is norm.running_mean and convert_sync_batchnorm(sync) is sync
    with pytest.raises(TypeError, match='Scaled'):
        convert_sync_batchnorm(nn.Sequential(Scaled(4)))
    frozen = nn.BatchNorm2d(4)
    frozen.weight.requires_grad_(False)
    assert not convert_sync_batchnorm(frozen).weight.requires_grad
    x = images().repeat(1, 2, 1, 1)[:, :4]
    plain = nn.BatchNorm2d(4)
    for kind in (None, 'cpu'):                                                              # one process, in training
        assert torch.equal(convert_sync_batchnorm(copy.deepcopy(plain), device_type=kind)(x), copy.deepcopy(plain)(x))


TWO = '''
import sys, torch
from torch import nn
from zoo.train.sync_bn import CpuSyncBatchNorm, convert_sync_batchnorm

def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 4, 3), nn.BatchNorm2d(4)).double()

def run(rank, folder):
    torch.set_num_threads(1)
    torch.distributed.init_process_group('gloo', init_method=f'file://{folder}/store', rank=rank, world_size=2)
    model = nn.parallel.DistributedDataParallel(convert_sync_batchnorm(network(), device_type='cpu'))
    x = torch.load(f'{folder}/x.pt')
    part = x[:2] if rank == 0 else x[2:]                              # of different sizes
    (model(part).square().sum() * 2).backward()                      # the gradients are averaged over two processes
    if rank == 0:
        torch.save((model.module.state_dict(), [p.grad for p in model.parameters()]), f'{folder}/ddp.pt')
    torch.distributed.destroy_process_group()
'''


@pytest.mark.slow
def test_two_processes_on_cpus_have_the_statistics_and_gradients_of_one(tmp_path):
    x = images(5, 8).double()
    torch.save(x, tmp_path / 'x.pt')
    processes = [subprocess.Popen([sys.executable, '-c', f'{TWO}run({rank}, {str(tmp_path)!r})'], cwd=ROOT,
                                  stderr=subprocess.PIPE, text=True) for rank in range(2)]
    for process in processes:
        assert process.wait(120) == 0, process.stderr.read()
    state, grads = torch.load(tmp_path / 'ddp.pt')
    space: dict = {}
    exec(TWO, space)
    model = space['network']()
    model(x).square().sum().backward()
    for (name, a), b in zip(model.state_dict().items(), state.values(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-12, msg=name)
    for p, grad in zip(model.parameters(), grads, strict=True):
        torch.testing.assert_close(p.grad, grad, rtol=1e-9, atol=1e-9)
