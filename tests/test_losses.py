"""Losses beside timm's, torch's and torchvision's, in double precision."""
from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F
from torchvision.ops import sigmoid_focal_loss

from zoo.compat import loss as named
from zoo.train import create_loss
from zoo.train.losses import CrossEntropy, FocalLoss
from zoo.train.recipe import LossPart

theirs = pytest.importorskip('timm.loss')
N, C = 12, 7


@pytest.fixture
def batch():
    """Logits, classes, several labels an image, probabilities."""
    draw = torch.Generator().manual_seed(0)
    logits = (3 * torch.randn(N, C, generator=draw, dtype=torch.float64)).requires_grad_()
    return (logits, torch.randint(C, (N,), generator=draw), (torch.rand(N, C, generator=draw) > 0.6).double(),
            torch.randn(N, C, generator=draw, dtype=torch.float64).softmax(1))


def same(ours, other, logits, target):
    a, b = ours(logits, target), other(logits, target)
    close = dict(rtol=1e-10, atol=1e-12) if b.dtype == torch.float64 else dict(rtol=1e-5, atol=1e-6)   # timm casts some
    torch.testing.assert_close(a, b.double(), **close)
    torch.testing.assert_close(*[torch.autograd.grad(x.sum(), logits)[0] for x in (a, b)], **close)


POS = torch.linspace(0.5, 2, C, dtype=torch.float64)
CASES = [
    ('LabelSmoothingCrossEntropy', 1, dict()), ('LabelSmoothingCrossEntropy', 1, dict(smoothing=0.3)),
    ('SoftTargetCrossEntropy', 3, dict()),
    *[('BinaryCrossEntropy', target, options) for target in (1, 2, 3) for options in (
        dict(), dict(smoothing=0.0), dict(target_threshold=0.2), dict(sum_classes=True), dict(pos_weight=POS),
        dict(pos_weight=2.0, smooth_dense=True), dict(weight=POS, reduction='sum'), dict(reduction='none'))],
    ('JsdCrossEntropy', 1, dict()), ('JsdCrossEntropy', 1, dict(num_splits=2, alpha=3.0, smoothing=0.0)),
    *[('AsymmetricLossMultiLabel', 2, options) for options in (
        dict(), dict(gamma_neg=2.0, gamma_pos=0.0, clip=0.0), dict(gamma_neg=0.0, gamma_pos=0.0), dict(smoothing=0.1),
        dict(reduction='mean'), dict(reduction='sum'), dict(reduction='none'), dict(clip=None))],
    *[('AsymmetricLossSingleLabel', 1, options) for options in (dict(), dict(gamma_pos=0.0, gamma_neg=2.0, eps=0.0),
                                                                dict(reduction='none'))],
]


@pytest.mark.parametrize('name, target, options', CASES)
def test_losses_are_timms(name, target, options, batch):
    same(getattr(named, name)(**options), getattr(theirs, name)(**options), batch[0], batch[target])


def test_cross_entropy_smooths_classes_and_takes_probabilities_as_they_are(batch):
    logits, classes, _, soft = batch
    one = CrossEntropy(0.2)
    smoothed = F.one_hot(classes, C).double() * 0.8 + 0.2 / C
    assert torch.isclose(one(logits, classes), one(logits, smoothed))
    assert torch.isclose(one(logits, soft), -(soft * logits.log_softmax(1)).sum(1).mean())


def test_jsd_of_equal_parts_is_cross_entropy(batch):
    logits, classes = batch[0][:4].repeat(3, 1), batch[1][:4].repeat(3)
    assert torch.isclose(named.JsdCrossEntropy(3, smoothing=0.1)(logits, classes), CrossEntropy(0.1)(logits[:4], classes[:4]))


def test_focal_is_torchvisions_over_the_number_of_positives(batch):
    logits, classes, several, _ = batch
    for alpha, gamma in ((0.25, 2.0), (-1, 1.5), (0.5, 0.0)):
        for target in (several, F.one_hot(classes, C).double()):
            reference = sigmoid_focal_loss(logits, target, alpha, gamma, 'sum')
            assert torch.isclose(FocalLoss(alpha, gamma)(logits, target), reference / target.sum())
            assert torch.isclose(FocalLoss(alpha, gamma, reduction='sum')(logits, target), reference)
    assert torch.isclose(FocalLoss()(logits, classes), FocalLoss()(logits, F.one_hot(classes, C).double()))
    assert FocalLoss()(logits, torch.zeros(N, C).double()).isfinite()                   # no positive at all


def test_half_precision_stays_finite():
    logits = torch.tensor([[60.0, -60.0, 0.0]], dtype=torch.bfloat16)
    for name, task, target in (('ce', 'single', torch.tensor([1])), ('bce', 'single', torch.tensor([1])),
                               ('asymmetric', 'single', torch.tensor([1])), ('focal', 'multi', torch.tensor([[0., 1., 1.]])),
                               ('asymmetric', 'multi', torch.tensor([[0., 1., 1.]]))):
        assert create_loss(LossPart(loss=name), task)(logits, target).isfinite(), (name, task)


@pytest.mark.parametrize('task, expected', [('single', 'ce'), ('multi', 'bce'), ('regression', 'mse')])
def test_a_recipes_loss(task, expected, batch):
    logits, classes, several, soft = batch
    target = {'single': classes, 'multi': several, 'regression': soft}[task]
    part = LossPart(smoothing=0.2)
    reference = {'ce': theirs.LabelSmoothingCrossEntropy(0.2), 'bce': theirs.BinaryCrossEntropy(0.2, smooth_dense=True),
                 'mse': torch.nn.MSELoss()}[expected]
    same(create_loss(part, task), reference, logits, target)
    explicit = create_loss(LossPart(loss=expected, smoothing=0.2), task)
    assert torch.equal(explicit(logits, target), create_loss(part, task)(logits, target))


def test_every_key_of_a_recipe_reaches_its_loss(batch):
    logits, classes, several, _ = batch
    for task, target, base, changes in (
            ('single', classes, dict(loss='ce'), dict(smoothing=0.3)),
            ('single', classes, dict(loss='bce'), dict(smoothing=0.3, bce_target_thresh=0.05, bce_sum=True, bce_pos_weight=3.0)),
            ('multi', several, dict(loss='bce'), dict(smoothing=0.3, bce_sum=True, bce_pos_weight=3.0)),
            ('single', classes, dict(loss='jsd'), dict(jsd_alpha=1.0, smoothing=0.3)),
            ('multi', several, dict(loss='asymmetric'), dict(gamma_neg=1.0, gamma_pos=0.0, asymmetric_clip=0.2, smoothing=0.3)),
            ('single', classes, dict(loss='asymmetric'), dict(gamma_neg=1.0, gamma_pos=0.0, smoothing=0.3)),
            ('multi', several, dict(loss='focal'), dict(focal_alpha=0.5, focal_gamma=1.0, smoothing=0.3))):
        usual = create_loss(LossPart(**base), task, 3)(logits, target)
        for key, value in changes.items():
            assert not torch.isclose(create_loss(LossPart(**base, **{key: value}), task, 3)(logits, target), usual), (base, key)


def test_numbers():
    outputs, target = torch.tensor([[1.0], [3.0]]), torch.tensor([0.0, 1.0])
    assert create_loss(LossPart(), 'regression')(outputs, target) == 2.5
    assert create_loss(LossPart(loss='l1'), 'regression')(outputs, target) == 1.5
    with pytest.raises(ValueError, match='differ in shape'):
        create_loss(LossPart(), 'regression')(torch.zeros(2, 2), target)


def test_what_does_not_fit_is_refused(batch):
    logits = batch[0]
    for part, task, message in ((LossPart(loss='cee'), 'single', "'cee'.*'ce'"), (LossPart(loss='ce'), 'multi', 'does not fit'),
                                (LossPart(), 'singel', "'singel'.*'single'"), (LossPart(loss='jsd'), 'single', 'aug_splits')):
        with pytest.raises(ValueError, match=message):
            create_loss(part, task)
    with pytest.raises(ValueError, match=r'Targets for 7 classes.*\(12, 3\)'):
        create_loss(LossPart(), 'single')(logits, torch.zeros(N, 3))
    with pytest.raises(ValueError, match='equal parts'):
        named.JsdCrossEntropy(5)(logits, batch[1])
    with pytest.raises(ValueError, match="'mena'.*'mean'"):
        named.AsymmetricLossSingleLabel(reduction='mena')
    with pytest.raises(ValueError, match='Smoothing'):
        named.LabelSmoothingCrossEntropy(1.0)
