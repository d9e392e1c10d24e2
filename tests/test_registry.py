"""Names: finding, listing, globbing, suggesting; compared with timm's registry where both know the models."""
from __future__ import annotations

import inspect
import importlib
import re
import subprocess
import sys

import pytest
import timm

import zoo
from conftest import architectures
from zoo.catalog import families
from zoo.registry import names_of_timm
from zoo.spec import PretrainedCfg

MODULES = zoo.list_modules()
TAGGED = zoo.list_models(include_tags=True)


def test_every_architecture_of_the_families_is_there():
    assert set(architectures()) == set(zoo.list_models())


@pytest.mark.parametrize('module', MODULES)
@pytest.mark.parametrize('options', [
    {}, dict(pretrained=True), dict(include_tags=True), dict(filter='*_b0*'), dict(filter='*_b0*', pretrained=True),
    dict(filter='*.ra_in1k', include_tags=True), dict(filter='*.ra_in1k'), dict(filter=['mix*', '*jft*'], include_tags=True),
    dict(filter='*0*', exclude_filters='*.ap_in1k', pretrained=True), dict(filter='*', exclude_filters=['tf_*', '*100']),
    dict(filter='*net_b0*ra*', include_tags=True), dict(filter='efficientnet_b[0-2]'), dict(filter='nothing*'),
    dict(filter='mixnet_s', include_tags=True), dict(name_matches_cfg=True),
], ids=str)
def test_list_models_equals_timm(module, options):
    ours, theirs = zoo.list_models(module=module, **options), timm.list_models(module=module, **options)
    assert ours == theirs


def test_list_pretrained_equals_timm():
    theirs = [name for name in timm.list_pretrained() if zoo.is_model(name)]
    assert zoo.list_pretrained() == theirs
    assert zoo.list_pretrained('tf_*', exclude_filters='*_b*') == [
        n for n in timm.list_pretrained('tf_*', exclude_filters='*_b*') if zoo.is_model(n)]


@pytest.mark.parametrize('name', TAGGED)
def test_pretrained_cfg_equals_timm(name):
    ours, theirs = zoo.get_pretrained_cfg(name).to_dict(), timm.get_pretrained_cfg(name).to_dict()
    theirs.pop('custom_load')                                   # how timm loads, not what
    if ours.get('hf_hub_id') and 'url' not in ours:
        theirs.pop('url', None)                                 # a URL stands only where no hub id serves
    assert {k: ours.get(k) for k in theirs if theirs[k] != ''} == {k: v for k, v in theirs.items() if v != ''}


@pytest.mark.parametrize('name', zoo.list_models())
def test_default_tag_and_queries_equal_timm(name):
    assert zoo.get_pretrained_cfg(name).tag == (timm.get_pretrained_cfg(name).tag or '')
    assert zoo.is_model_pretrained(name) == timm.is_model_pretrained(name)
    assert zoo.get_pretrained_cfg_value(name, 'input_size') == timm.get_pretrained_cfg_value(name, 'input_size')
    assert zoo.get_arch_name(zoo.get_pretrained_cfg(name).name) == name


@pytest.mark.parametrize('name', ['a.b.c', 'a', 'efficientnet_b0.ra_in1k'])
def test_split_model_name_tag_equals_timm(name):
    assert zoo.split_model_name_tag(name, 'none') == timm.models.split_model_name_tag(name, 'none')


def test_former_names_resolve_with_a_warning():
    from timm.models._registry import _module_to_deprecated_models
    former = {old: new for module in MODULES for old, new in _module_to_deprecated_models.get(module, {}).items()}
    assert former
    for old, new in former.items():
        if not timm.is_model_pretrained(new):                       # a tag that timm itself has renamed since
            assert zoo.is_model_pretrained(old)
            continue
        groups = re.search(r'_\d+x\d+d', old)
        if groups and groups[0] not in new:                         # timm takes ig_resnext101_32x16d for 32x8d
            if zoo.is_model(old):
                with pytest.warns(DeprecationWarning, match=groups[0]):
                    assert groups[0] in zoo.get_arch_name(old)
            else:
                assert not any(groups[0] in name for name in zoo.list_models())
            continue
        assert zoo.is_model(old) and zoo.is_model_pretrained(old) == zoo.is_model_pretrained(new)
        with pytest.warns(DeprecationWarning, match=new):
            assert zoo.get_pretrained_cfg(old) == zoo.get_pretrained_cfg(new)


def test_unknown_names_and_tags_are_told_the_nearest():
    with pytest.raises(ValueError, match="efficientnet_b44.*Did you mean 'efficientnet_b4', '.*', '.*'"):
        zoo.create_model('efficientnet_b44')
    with pytest.raises(ValueError, match='ra9_in1k.*Its tags: ra2_in1k'):
        zoo.create_model('efficientnet_b4.ra9_in1k')
    with pytest.raises(ValueError, match='list_models'):
        zoo.get_pretrained_cfg('????')
    assert not zoo.is_model('efficientnet_b44') and not zoo.is_model_pretrained('efficientnet_b0.nope')


def test_a_name_that_timm_has_and_zoo_has_not_is_said_to_be_that():
    assert names_of_timm() == set(timm.list_models()) and set(zoo.list_models()) <= names_of_timm()
    absent = min(names_of_timm() - set(zoo.list_models()))
    for name in (absent, f'{absent}.a1_in1k', f'timm/{absent}.augreg_in21k', absent.upper()):
        with pytest.raises(ValueError, match=r'zoo does not have the model .* yet, which timm has\. .*zoo list'):
            zoo.create_model(name)
        assert not zoo.is_model(name)
    with pytest.raises(ValueError, match="no model named 'resnet5000'"):
        zoo.create_model('resnet5000')


@pytest.mark.parametrize(('written', 'name'), [
    ('EfficientNet_B0', 'efficientnet_b0'), ('timm/efficientnet_b0.ra_in1k', 'efficientnet_b0.ra_in1k'),
    ('TF_EfficientNet_B0.NS_JFT_in1k', 'tf_efficientnet_b0.ns_jft_in1k'), ('timm/MixNet_S', 'mixnet_s')])
def test_capital_letters_and_the_hubs_prefix_are_understood(written, name):
    assert zoo.is_model(written) and zoo.is_model_pretrained(written)
    assert zoo.get_pretrained_cfg(written) == zoo.get_pretrained_cfg(name)
    one, other = (zoo.create_model(each, device='meta').pretrained_cfg for each in (written, name))
    assert one == other


def test_model_entrypoint():
    build = zoo.model_entrypoint('mixnet_s', 'efficientnet')
    assert build.__name__ == 'mixnet_s' and build(num_classes=3).num_classes == 3
    with pytest.raises(ValueError, match="module 'efficientnet', not in 'resnet'"):
        zoo.model_entrypoint('mixnet_s', 'resnet')


def test_modules():
    assert zoo.is_model_in_modules('mixnet_s', ['efficientnet'])
    assert not zoo.is_model_in_modules('mixnet_s', 'resnet')


def test_names_stand_literally_once():
    names = [name for family in families() for name in family.variants]
    assert len(names) == len(set(names))
    for family in families():
        source = inspect.getsource(importlib.import_module(f'zoo.catalog.{family.module}'))
        for name in family.variants:
            assert source.count(f"        '{name}':") == 1, name


@pytest.mark.parametrize('family', families(), ids=lambda f: next(iter(f.variants)))
def test_rows_bind_to_what_they_are_read_by(family):
    module, _, name = family.model.partition('.')
    signature = inspect.signature(getattr(importlib.import_module(f'zoo.models.{module}'), name))
    for variant in family.variants:
        signature.bind(**family.model_args(variant))
        assert family.tags(variant), variant
    for full_name in family.weights:
        assert full_name.partition('.')[0] in family.variants
        assert isinstance(family.pretrained_cfg(full_name), PretrainedCfg)
    for new in family.former.values():
        assert zoo.is_model(new)


def test_listing_imports_no_torch():
    code = ('import sys, zoo; zoo.list_models("*b0*"); zoo.list_pretrained(); zoo.list_modules(); '
            'zoo.get_pretrained_cfg("mixnet_s"); zoo.is_model_pretrained("mixnet_s"); '
            'import zoo.blocks; heavy = {"torch", "torchvision", "PIL", "numpy", "huggingface_hub"} & set(sys.modules); '
            'assert not heavy, heavy')
    subprocess.run([sys.executable, '-c', code], check=True)


def test_building_imports_no_torchvision():
    code = ('import sys, zoo; zoo.create_model("test_efficientnet"); '
            'heavy = {"torchvision", "PIL", "huggingface_hub", "timm"} & set(sys.modules); assert not heavy, heavy')
    subprocess.run([sys.executable, '-c', code], check=True)


def test_public_names():
    for name in zoo.__all__:
        assert getattr(zoo, name) is not None
    assert set(zoo.__all__) <= set(dir(zoo))
    with pytest.raises(AttributeError, match="'list_models'"):
        zoo.list_model


@pytest.mark.slow
def test_no_network_loads_pytorchs_compiler_when_it_is_built():
    code = """
import sys, torch, zoo
for module in zoo.list_modules():
    names = zoo.list_models(module=module)
    for name in {names[0], names[len(names) // 2], names[-1]}:
        with torch.device('meta'):
            zoo.create_model(name)
        loaded = {'torch._dynamo', 'sympy'} & set(sys.modules)
        assert not loaded, (name, loaded)
"""
    run = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
