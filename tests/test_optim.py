"""Optimizers by name, step by step beside timm's and torch's; parameters in groups."""
from __future__ import annotations

import inspect
import itertools
import types

import pytest
import torch
from torch import nn

import zoo
from zoo.compat.optim import create_optimizer, optimizer_kwargs
from zoo.train import clip, create_optimizer_v2, list_optimizers, lookahead, optim
from zoo.train.muon import Muon, is_matrix, orthogonalized

theirs = pytest.importorskip('timm.optim')
SHAPES = ((4, 3, 3, 3), (5,), (6, 4), (1,))


def trajectory(create, *, steps=24, shapes=SHAPES, dtype=torch.float64, **options):
    """Weights after each of several steps of gradients of very different size; the learning rate changes midway."""
    draw = torch.Generator().manual_seed(0)
    parameters = [nn.Parameter(torch.randn(shape, generator=draw, dtype=dtype)) for shape in shapes]
    optimizer = create(parameters, **{'lr': 0.02, 'weight_decay': 0.05} | options)
    seen = []
    for step in range(steps):
        if step == 10:
            for group in optimizer.param_groups:
                group['lr'] *= 0.3
        for p in parameters:
            p.grad = torch.randn(p.shape, generator=draw, dtype=dtype) * 10.0 ** (step % 4 - 2)
        optimizer.step()
        seen.append(torch.cat([p.detach().flatten().clone() for p in parameters]))
    return torch.stack(seen)


@pytest.mark.parametrize('options', [dict(), dict(momentum=0.0), dict(momentum=0.5, alpha=0.99, eps=1e-3), dict(centered=True),
                                     dict(lr_in_momentum=False), dict(weight_decay=0.0), dict(opt='rmsproptfw')])
def test_rmsproptf_is_timms_at_every_step(options):
    options = {'opt': 'rmsproptf'} | options
    ours, other = trajectory(create_optimizer_v2, **options), trajectory(theirs.create_optimizer_v2, **options)
    assert (ours - other).abs().max() < 1e-13
    assert (ours - trajectory(create_optimizer_v2, opt='rmsprop')).abs().max() > 1e-2         # torch's is another


@pytest.mark.parametrize('options', [
    dict(), dict(opt='lambc'), dict(opt='lambw'), dict(opt='lambcw'), dict(max_grad_norm=None), dict(weight_decay=0.0),
    dict(always_adapt=True, weight_decay=0.0), dict(grad_averaging=False, bias_correction=False, betas=(0.8, 0.95))])
def test_lamb_is_timms_at_every_step(options):
    options = {'opt': 'lamb'} | options
    assert (trajectory(create_optimizer_v2, **options) - trajectory(theirs.create_optimizer_v2, **options)).abs().max() < 1e-12


def test_nadamw_is_timms_at_every_step():
    for options in (dict(), dict(betas=(0.8, 0.95), eps=1e-3)):
        options['opt'] = 'nadamw'
        assert (trajectory(create_optimizer_v2, **options) -
                trajectory(theirs.create_optimizer_v2, **options)).abs().max() < 1e-13


@pytest.mark.parametrize('nesterov', [False, True])
def test_muon_is_torchs_on_matrices_and_adamw_on_the_rest(nesterov):
    options = dict(lr=0.02, weight_decay=0.1, momentum=0.9, nesterov=nesterov, dtype=torch.float32)
    torchs = trajectory(lambda p, **o: torch.optim.Muon(p, **o, adjust_lr_fn='match_rms_adamw'), shapes=((6, 4), (3, 9)),
                        **options)
    assert torch.equal(torchs, trajectory(Muon, shapes=((6, 4), (3, 9)), **options))
    convolution = trajectory(Muon, shapes=((6, 4, 3, 3),), **options)
    assert torch.equal(convolution, trajectory(Muon, shapes=((6, 36),), **options))
    rest = trajectory(Muon, shapes=((8, 1, 3, 3), (5,)), **options)
    adamw = trajectory(lambda p, momentum, nesterov, **o: torch.optim.AdamW(p, betas=(0.9, 0.95), **o),
                       shapes=((8, 1, 3, 3), (5,)), **options)
    torch.testing.assert_close(rest, adamw)


def test_muon_makes_steps_orthogonal_and_moves_what_is_listed_as_adamw():
    values = torch.linalg.svdvals(orthogonalized(torch.randn(12, 7, generator=torch.Generator().manual_seed(0))))
    assert values.min() > 0.6 and values.max() < 1.3
    model = zoo.create_model('mobilenetv3_small_100', num_classes=3)
    optimizer = create_optimizer_v2(model, 'muon', lr=0.01, weight_decay=0.1, fallback_list=['classifier.*'])
    model(torch.randn(2, 3, 32, 32)).square().sum().backward()
    optimizer.step()
    with_momentum = {n for n, p in model.named_parameters() if 'momentum_buffer' in optimizer.state[p]}
    assert with_momentum == {n for n, p in model.named_parameters() if is_matrix(p) and not n.startswith('classifier')}
    assert 'exp_avg' in optimizer.state[model.classifier.weight] and 'conv_head.weight' in with_momentum


def test_lookahead_goes_half_the_way_every_sixth_step():
    weight = nn.Parameter(torch.zeros(1))
    optimizer = create_optimizer_v2([weight], 'lookahead_momentum', lr=1.0, momentum=0.0)
    seen = []
    for _ in range(13):
        weight.grad = torch.tensor([-1.0])
        optimizer.step()
        seen.append(weight.item())
    assert seen == [1, 2, 3, 4, 5, 3, 4, 5, 6, 7, 8, 6, 7]
    other = nn.Parameter(torch.tensor([7.0]))
    resumed = create_optimizer_v2([other], 'lookahead_momentum', lr=1.0, momentum=0.0)
    resumed.load_state_dict(optimizer.state_dict())
    for _ in range(5):
        other.grad = torch.tensor([-1.0])
        resumed.step()
    assert other.item() == 9                                            # (6 + 12) / 2
    adam = create_optimizer_v2([weight], 'lookahead_adamw')             # whose state is made where there is none
    weight.grad = torch.tensor([-1.0])
    adam.step()
    assert {'exp_avg', 'slow'} <= set(adam.state[weight])
    with pytest.raises(ValueError, match='alpha'):
        lookahead(adam, alpha=0)


@pytest.mark.parametrize('name', [n for n in list_optimizers() if not isinstance(optim.OPTIMIZERS[n][0], str)])
def test_a_run_can_stop_and_go_on_with_every_optimizer(name):
    def parameters():
        draw = torch.Generator().manual_seed(1)
        return [nn.Parameter(torch.randn(shape, generator=draw)) for shape in SHAPES]

    def go(weights, optimizer, steps):
        for step in steps:
            draw = torch.Generator().manual_seed(step)
            for p in weights:
                p.grad = torch.randn(p.shape, generator=draw)
            optimizer.step()

    whole, half, rest = parameters(), parameters(), parameters()
    optimizers = [create_optimizer_v2(p, name, lr=0.01, weight_decay=0.1) for p in (whole, half, rest)]
    go(whole, optimizers[0], range(8))
    go(half, optimizers[1], range(4))
    with torch.no_grad():
        for a, b in zip(rest, half):
            a.copy_(b)
    optimizers[2].load_state_dict(optimizers[1].state_dict())
    go(rest, optimizers[2], range(4, 8))
    assert all(torch.equal(a, b) for a, b in zip(whole, rest))


@pytest.mark.parametrize('name', [n for n in list_optimizers() if isinstance(optim.OPTIMIZERS[n][0], str)])
def test_the_fields_optimizers_make_a_loss_small(name):
    pytest.importorskip(optim.PACKAGE)
    torch.manual_seed(0)
    model, x = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 1)), torch.randn(64, 4)
    y = x[:, :1] * x[:, 1:2]
    optimizer = create_optimizer_v2(model, name, lr={'prodigy': 1.0, 'lars': 0.1, 'nlars': 0.1, 'sophia': 0.1}.get(name, 0.01), weight_decay=1e-4)
    losses = []
    for _ in range(40):
        optimizer.zero_grad()
        loss = (model(x) - y).square().mean()
        loss.backward(create_graph=optimizer.is_second_order)
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.98 * losses[0]
    with pytest.raises(TypeError, match="'beta'"):
        create_optimizer_v2(model, name, beta=3)


def test_an_optimizer_of_a_package_that_is_missing_names_the_extra(monkeypatch):
    monkeypatch.setitem(__import__('sys').modules, optim.PACKAGE, None)
    with pytest.raises(ImportError, match=r'zoo-image-models\[optim\]'):
        create_optimizer_v2([nn.Parameter(torch.zeros(2))], 'lion')


def test_names():
    assert {'sgd', 'adamw', 'rmsproptf', 'lamb', 'muon', 'lion', 'prodigy'} <= set(list_optimizers())
    assert list_optimizers('lamb*', ['*w']) == ['lamb', 'lambc']
    shared = set(list_optimizers()) & set(theirs.list_optimizers())
    assert len(shared) > 35
    for name, message in (('adamm', "'adamm'.*'adam'"), ('lookahead_adamm', "'adamm'")):
        with pytest.raises(ValueError, match=message):
            create_optimizer_v2([nn.Parameter(torch.zeros(2))], name)
    with pytest.raises(TypeError, match="'epsilon'.*'eps'"):
        create_optimizer_v2([nn.Parameter(torch.zeros(2))], 'adamw', epsilon=1e-3)


def test_parsed_arguments_make_the_same_optimizer():
    args = types.SimpleNamespace(opt='adamw', lr=0.1, weight_decay=0.05, momentum=0.9, opt_eps=1e-3, opt_betas=None,
                                 opt_args={'amsgrad': True}, layer_decay=None)
    assert optimizer_kwargs(args) == theirs.optimizer_kwargs(args)
    group = create_optimizer(args, [nn.Parameter(torch.zeros(2))]).param_groups[0]
    assert group['eps'] == 1e-3 and group['amsgrad'] and group['lr'] == 0.1 and group['weight_decay'] == 0.05


# --- groups

NETWORKS = ('efficientnet_b0', 'efficientformer_l1', 'mobilenetv4_hybrid_medium')


def flat(model, groups):
    names = {id(p): name for name, p in model.named_parameters()}
    return {names[id(p)]: (g['weight_decay'], g.get('lr_scale'), g.get('use_fallback')) for g in groups for p in g['params']}


@pytest.mark.parametrize('name', NETWORKS)
def test_groups_are_timms(name):
    model = zoo.create_model(name)
    some = list(model.no_weight_decay()) or ['*.conv_dw.weight']
    for options in (dict(), dict(no_weight_decay_list=some), dict(fallback_list=['*stem*', 'head*'], weight_decay=0.1),
                    dict(fallback_list=['*stem*'], no_weight_decay_list=some, fallback_no_weight_decay=True), dict(weight_decay_exclude_1d=False)):
        assert flat(model, optim.param_groups_weight_decay(model, **options)) == \
            flat(model, theirs.param_groups_weight_decay(model, **options)), options
        for more in (dict(), dict(layer_decay=0.9, min_scale=0.6)):
            assert flat(model, optim.param_groups_layer_decay(model, **options, **more)) == \
                flat(model, theirs.param_groups_layer_decay(model, **options, **more)), (options, more)
    ours, other = zoo.create_model(name), zoo.create_model(name)
    frozen = [flat(m, f(m, layer_decay=0.7, no_opt_scale=0.3)) for m, f in
              ((ours, optim.param_groups_layer_decay), (other, theirs.param_groups_layer_decay))]
    assert frozen[0] == frozen[1] and 0 < len(frozen[0]) < len(list(model.parameters()))
    assert [p.requires_grad for p in ours.parameters()] == [p.requires_grad for p in other.parameters()]


def test_learning_rates_fall_layer_by_layer_and_keep_their_base():
    model = zoo.create_model('mobilenetv3_small_100', num_classes=2)
    groups = create_optimizer_v2(model, 'sgd', lr=0.1, weight_decay=0.1, layer_decay=0.5,
                                 layer_decay_min_scale=0.1).param_groups
    assert {g['base_lr'] for g in groups} == {0.1} and all(g['lr'] == 0.1 * g['lr_scale'] for g in groups)
    assert min(g['lr'] for g in groups) == pytest.approx(0.01) and max(g['lr'] for g in groups) == 0.1
    with pytest.raises(TypeError, match='Linear has none'):
        create_optimizer_v2(nn.Linear(2, 2), 'sgd', layer_decay=0.5)
    given = create_optimizer_v2(model, 'sgd', lr=0.1, param_group_fn=lambda m: [{'params': [m.classifier.weight], 'lr': 7.0}])
    assert [g['lr'] for g in given.param_groups] == [7.0]


# --- limits of gradients

def with_gradients(name, scale=1.0):
    torch.manual_seed(0)
    model = zoo.create_model(name, num_classes=4).double()
    for p in model.parameters():
        p.grad = torch.randn_like(p) * scale
    return model


@pytest.mark.parametrize('mode, limit', [('norm', 0.5), ('value', 0.01), ('agc', 0.02)])
def test_gradients_are_limited_as_timms(mode, limit):
    pytest.importorskip('timm.utils')
    from timm.utils import dispatch_clip_grad
    ours, other = with_gradients('mobilenetv3_small_100', 0.01), with_gradients('mobilenetv3_small_100', 0.01)
    before = [p.grad.clone() for p in ours.parameters()]
    norm = clip.clip_gradients(ours, limit, mode)
    # timm is told which parameters are the classifier's by their place: the last two
    dispatch_clip_grad(list(other.parameters())[:-2] if mode == 'agc' else other.parameters(), limit, mode)
    for (name, a), b in zip(ours.named_parameters(), other.parameters()):
        torch.testing.assert_close(a.grad, b.grad, rtol=1e-12, atol=1e-15, msg=name)
    assert any(not torch.equal(a, p.grad) for a, p in zip(before, ours.parameters()))
    if mode == 'norm':
        assert norm == pytest.approx(float(torch.stack([g.norm() for g in before]).norm()))
    if mode == 'agc':
        assert torch.equal(before[-2], ours.classifier.weight.grad)


def test_limits_say_what_they_do_not_know():
    model = with_gradients('mobilenetv3_small_100')
    for limit, mode, message in ((1.0, 'norms', "'norms'.*'norm'"), (0.0, 'norm', 'above 0')):
        with pytest.raises(ValueError, match=message):
            clip.clip_gradients(model, limit, mode)
    both = zoo.create_model('efficientformer_l1', distillation=True)
    left = {id(p) for p in clip.without_classifier(both)}
    assert [n for n, p in both.named_parameters() if id(p) not in left] == \
        [f'{a}.{b}' for a, b in itertools.product(('head', 'head_dist'), ('weight', 'bias'))]


@pytest.mark.parametrize('name', list_optimizers())
def test_options_of_several_numbers_have_as_many(name):
    pytest.importorskip(optim.PACKAGE)
    signature = inspect.signature(optim.get_optimizer_class(name)).parameters.values()
    weight = [nn.Parameter(torch.zeros(2, 2))]
    for option, usual in {p.name: p.default for p in signature if isinstance(p.default, tuple)}.items():
        create_optimizer_v2(weight, name, **{option: list(usual)})
        for wrong in (usual[:1], [*usual, 0.9], 0.9, '0.9', [], ['0.9'] * len(usual)):
            with pytest.raises(ValueError, match=f'{option!r} of optimizer {name!r} is {len(usual)} numbers'):
                create_optimizer_v2(weight, name, **{option: wrong})
