"""The `zoo` command, as a user meets it: its output, its errors, its exit status."""
from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torchvision
from PIL import Image

import zoo
from conftest import architectures
from zoo.registry import resolve
from zoo.cli import COMMANDS, _parser, facts, main, options_of
from structures import share
from zoo.registry import names_of_timm

ROOT = Path(__file__).parent.parent
PHOTOS = ROOT / 'examples' / 'images'
SHOWN = {'cat.jpg': 'Egyptian cat', 'dahlia.jpg': 'daisy', 'espresso.jpg': 'espresso', 'palace.jpg': 'palace',
         'tripod.jpg': 'tripod'}


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """`python -m zoo` in a process of its own, with no network."""
    return subprocess.run([sys.executable, '-m', 'zoo', *arguments], cwd=ROOT, capture_output=True, text=True,
                          env={**os.environ, 'HF_HUB_OFFLINE': '1', **environment})


def imported_by(*arguments: str) -> set[str]:
    """The modules imported by a run of the command."""
    code = f'import sys; from zoo.cli import main\ntry: main({list(arguments)!r})\nexcept SystemExit: pass\n' \
           'print(*sys.modules, sep="\\n", file=sys.stderr)'
    done = subprocess.run([sys.executable, '-c', code], cwd=ROOT, capture_output=True, text=True, check=True)
    return set(done.stderr.split())


@pytest.mark.parametrize('arguments', [['--help'], ['list'], ['list', '--pretrained', '--json'], ['predict', '--nope']])
def test_no_torch_unless_a_network_is_needed(arguments: list[str]) -> None:
    modules = imported_by(*arguments)
    assert 'zoo.cli' in modules
    if arguments[0] != 'predict':
        assert not {'torch', 'torchvision', 'zoo.cli.predict', 'zoo.cli.info'} & modules


@pytest.mark.parametrize('arguments', [['info', 'tf_efficientnet_lite0'], ['info', 'efficientnet_b3a', '--json'],
                                       ['info', 'efficientnet_b44']])
def test_info_needs_no_torch(arguments: list[str]) -> None:
    modules = imported_by(*arguments)
    assert 'zoo.cli.info' in modules and not {'torch', 'torchvision', 'huggingface_hub'} & modules


def test_info_knows_every_network_without_building_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def build(name: str) -> None:
        raise AssertionError(f'{name} is not in the table')

    monkeypatch.setattr(facts, 'measured', build)
    for name in zoo.list_models(include_tags=True):
        cfg, network = facts.facts(name)
        known = architectures()[cfg.architecture]
        assert cfg == zoo.get_pretrained_cfg(name)
        assert [str(stage['num_chs']) for stage in network['features']] == known['feature_channels'].split(), name
        for stage, reduction, module in zip(network['features'], known['feature_reductions'].split(),
                                            known['feature_modules'].split(' '), strict=True):
            assert not module or str(stage['reduction']) == reduction, name                     # timm has no such map
        family, first = resolve(name)[0], zoo.get_pretrained_cfg(cfg.architecture)     # which the reference was built with
        alike = network['num_classes'] == first.num_classes and 'x'.join(map(str, cfg.input_size)) == known['input_size']
        if alike and family.tag_args(cfg.architecture, cfg.tag) == family.tag_args(cfg.architecture, first.tag):
            assert network['parameters'] == int(known['params']), name
            if known['gmacs']:       # the reference has no figure for some; test_models says where there are fewer here
                least = 0.94 if resolve(cfg.architecture)[0].module == 'byoanet' else 0.99
                assert least * float(known['gmacs']) - 1e-4 < network['gmacs'] < 1.01 * float(known['gmacs']) + 1e-4, name


@pytest.mark.parametrize('name', [
    *(pytest.param(name, marks=pytest.mark.slow) for name in share(zoo.list_models(include_tags=True))),
    'mobilenetv3_small_050', 'tf_efficientnetv2_b0.in1k', 'hardcorenas_a', 'efficientformerv2_s0'])
def test_what_info_knows_is_what_building_tells(name: str) -> None:
    assert facts.facts(name) == facts.measured(name)


def test_info_of_a_folder_builds_its_network(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / 'config.json').write_text(json.dumps({
        'architecture': 'mobilenetv2_035', 'num_classes': 7, 'pretrained_cfg': {'input_size': [3, 96, 96]}}))
    assert main(['info', f'local-dir:{tmp_path}', '--json']) == 0
    info = json.loads(capsys.readouterr().out)
    assert info['num_classes'] == 7 and info['preprocessing']['input_size'] == [3, 96, 96]
    assert info['parameters'] == facts.facts('mobilenetv2_035')[1]['parameters'] - 993 * 1281


def test_list_prints_what_the_library_lists(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(['list']) == 0
    assert capsys.readouterr().out.split() == zoo.list_models()
    assert main(['list', 'tf_efficientnet_b*', 'mixnet*', '--exclude', '*b7*', '--tags']) == 0
    assert capsys.readouterr().out.split() == zoo.list_models(
        ['tf_efficientnet_b*', 'mixnet*'], exclude_filters='*b7*', include_tags=True)
    assert main(['list', '--pretrained', '--module', 'efficientnet', '--json']) == 0
    assert json.loads(capsys.readouterr().out) == zoo.list_models(pretrained=True, module='efficientnet')


def test_list_without_a_match(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(['list', 'efficientnet_b44']) == 1
    out, err = capsys.readouterr()
    assert not out and 'efficientnet_b4' in err


@pytest.mark.parametrize(('arguments', 'words'), [
    (['list', '--module', 'efficientnets'], ['efficientnets', "'efficientnet'"]),
    (['info', 'efficientnet_b44'], ['efficientnet_b44', 'efficientnet_b4']),
    (['info', 'efficientnet_b4.nope'], ['nope', 'ra2_in1k']),
    (['predict', 'no/such/folder'], ['no/such/folder']),
    (['predict', str(PHOTOS), '--model', 'tf_efficientnet_lite00'], ['tf_efficientnet_lite0']),
    (['predict', str(PHOTOS), '--checkpoint', 'no/such/file.pth'], ['no/such/file.pth']),
    (['predict', str(PHOTOS), '--num-classes', '3'], ['--checkpoint']),
    (['predict', str(PHOTOS), '--device', 'abacus'], ['abacus']),
    (['predict', str(PHOTOS), '--checkpoint', str(PHOTOS / 'cat.jpg')], ['cat.jpg']),
    (['fetch', 'efficientnet_b44'], ['efficientnet_b4']),
    (['fetch', 'efficientnet_x_b3'], ['efficientnet_x_b3']),
])
def test_an_expected_error_is_one_line(
        arguments: list[str], words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 2
    out, err = capsys.readouterr()
    assert not out
    assert err.startswith('zoo: ') and err.count('\n') == 1
    assert all(word in err for word in words), err


def test_zoo_traceback_shows_where_an_error_came_from(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv('ZOO_TRACEBACK', '1')
    with pytest.raises(ValueError, match='efficientnet_b4'):
        main(['info', 'efficientnet_b44'])


@pytest.mark.parametrize('arguments', [
    [], ['lst'], ['info'], ['info', 'efficientnet_b0', '--jsn'], ['predict', 'x', '--topkk', '3'],
    ['predict'], ['predict', 'x', '--topk', '0'], ['predict', 'x', '--batch-size', 'two'],
])
def test_bad_usage(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    assert stop.value.code == 2
    err = capsys.readouterr().err
    assert err.startswith('zoo') and err.count('\n') == 1 and err.endswith(' --help lists what there is.\n')
    assert '--topkk' not in arguments or "'--topk'" in err


@pytest.mark.parametrize('command', COMMANDS)
def test_options_are_taken_by_their_whole_names(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    subcommand = next(a for a in _parser([command])[0]._actions if a.dest == 'command').choices[command]
    needed = [word for action in subcommand._actions if action.required and action.option_strings
              for word in (action.option_strings[0], 'x')]
    for option in options_of(subcommand):
        for short in {option[:-1], option[:len(option) // 2 + 2]} - {*options_of(subcommand), '--'}:
            with pytest.raises(SystemExit) as stop:
                main([command, 'x', *needed, f'{short}=1' if len(short) % 2 else short])
            err = capsys.readouterr().err
            assert stop.value.code == 2 and err.count('\n') == 1 and f'{short} ' in err.replace("'", ' '), err
            quoted = re.findall(r'--[\w-]+', err.partition('Did you mean')[2].partition('?')[0])
            assert len(quoted) == len(set(quoted))
    with pytest.raises(SystemExit):
        main(['predict', 'x', '-k', '3'])
    assert "Did you mean '--topk'" in capsys.readouterr().err


def test_a_reader_that_stops_reading_is_no_error() -> None:
    done = subprocess.run(f'{sys.executable} -m zoo list --tags | head -1', shell=True, cwd=ROOT, capture_output=True,
                          text=True)
    assert done.stdout.split() == zoo.list_models(include_tags=True)[:1]
    assert not done.stderr


def test_a_former_name_is_served_with_a_notice(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(['info', 'efficientnet_b3a', '--json']) == 0
    out, err = capsys.readouterr()
    assert json.loads(out)['name'].startswith('efficientnet_b3.')
    assert err.startswith('zoo: ') and 'efficientnet_b3' in err and err.count('\n') == 1


def test_info_states_the_published_facts_of_b4(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(['info', 'efficientnet_b4', '--json']) == 0
    info = json.loads(capsys.readouterr().out)
    assert info['name'] == 'efficientnet_b4.ra2_in1k'
    assert round(info['parameters'] / 1e6, 1) == 19.3
    assert round(info['gmacs'], 1) == 3.1
    assert round(info['macts'], 1) == 34.8
    assert [stage['num_chs'] for stage in info['features']] == [24, 32, 56, 160, 448]
    assert [stage['reduction'] for stage in info['features']] == [2, 4, 8, 16, 32]
    assert info['preprocessing']['input_size'] == [3, 320, 320]
    assert info['preprocessing']['test_input_size'] == [3, 384, 384]
    assert info['weights']['hf_hub_id'] == 'timm/efficientnet_b4.ra2_in1k'
    accuracy = {(line['test_set'], line['img_size']): line['top1'] for line in info['published']}
    assert accuracy['imagenet', 384] == 83.468
    assert {test_set for test_set, _ in accuracy} == {path.stem for path in (ROOT / 'results/published').glob('imagenet*.csv')}


def test_info_text_carries_every_part(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(['info', 'efficientnet_b4']) == 0
    text = capsys.readouterr().out
    for part in ['efficientnet_b4.ra2_in1k', '19.34 M', '3.06 G', '34.76 M', '24, 32, 56, 160, 448', '2, 4, 8, 16, 32',
                 '3x320x320', '3x384x384', 'bicubic', '0.485, 0.456, 0.406', 'apache-2.0', 'timm/efficientnet_b4.ra2_in1k',
                 '83.47 % top-1']:
        assert part in text, part


@pytest.mark.parametrize('name', ['tf_efficientnet_l2', 'efficientnet_cc_b0_4e', 'mixnet_xxl'])
def test_info_of_any_size_or_without_weights(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(['info', name, '--json']) == 0
    assert json.loads(capsys.readouterr().out)['name'].startswith(name)


def test_photographs_are_named_offline_from_the_installed_weights() -> None:
    done = run('predict', str(PHOTOS), '--json', '--topk', '3')
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    first = {Path(line['file']).name: line['predictions'][0]['class'] for line in lines}
    assert first.keys() == SHOWN.keys()
    assert all(SHOWN[name] in first[name] for name in SHOWN), first
    for line in lines:
        probabilities = [found['probability'] for found in line['predictions']]
        assert len(probabilities) == 3 and probabilities == sorted(probabilities, reverse=True)


def test_the_table_is_readable(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(['predict', str(PHOTOS / 'espresso.jpg'), '--topk', '2']) == 0
    head, first, second = capsys.readouterr().out.splitlines()
    assert head.split() == ['file', 'probability', 'class']
    assert re.fullmatch(r'\S+espresso\.jpg +9\d\.\d% +espresso', first)
    assert re.fullmatch(r' +\d\.\d% +\w.*', second)
    assert first.index('%') == second.index('%')


def test_a_broken_image_is_named_skipped_and_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    good = (PHOTOS / 'espresso.jpg').read_bytes()
    (tmp_path / 'deep' / 'er').mkdir(parents=True)
    (tmp_path / 'a.jpg').write_bytes(good)
    (tmp_path / 'b_cut.jpg').write_bytes(good[:len(good) // 2])
    (tmp_path / 'c_empty.png').touch()
    (tmp_path / 'd_text.webp').write_text('no image')
    (tmp_path / 'deep' / 'er' / 'e.JPG').write_bytes(good)
    (tmp_path / 'notes.txt').write_text('not looked at')
    assert main(['predict', str(tmp_path), '--json', '--batch-size', '2']) == 1
    out, err = capsys.readouterr()
    outcome = {Path(line['file']).name: line for line in map(json.loads, out.splitlines())}
    assert [name for name in outcome if 'predictions' in outcome[name]] == ['a.jpg', 'e.JPG']
    assert [name for name in outcome if 'error' in outcome[name]] == ['b_cut.jpg', 'c_empty.png', 'd_text.webp']
    assert outcome['a.jpg']['predictions'] == outcome['e.JPG']['predictions']
    for name in ('b_cut.jpg', 'c_empty.png', 'd_text.webp'):
        assert any(line.startswith('zoo: skipped') and str(tmp_path / name) in line for line in err.splitlines()), err
    assert '3 of 5 images could not be read' in err


@pytest.mark.slow
def test_a_name_that_is_not_utf8_is_no_obstacle(tmp_path: Path) -> None:
    (tmp_path / os.fsdecode(b'caf\xe9.jpg')).write_bytes((PHOTOS / 'espresso.jpg').read_bytes())
    (tmp_path / os.fsdecode(b'th\xe9.jpg')).touch()
    table, lines = run('predict', str(tmp_path)), run('predict', str(tmp_path), '--json')
    assert table.returncode == lines.returncode == 1
    assert 'caf?.jpg' in table.stdout and 'th?.jpg' in table.stderr
    assert os.fsencode(json.loads(lines.stdout.splitlines()[0])['file']).endswith(b'caf\xe9.jpg')


def test_batches_do_not_change_the_answer(capsys: pytest.CaptureFixture[str]) -> None:
    answers = []
    for size in ('1', '3', '16'):
        assert main(['predict', str(PHOTOS), '--json', '--batch-size', size]) == 0
        answers.append([json.loads(line) for line in capsys.readouterr().out.splitlines()])
    for other in answers[1:]:
        for one, another in zip(answers[0], other, strict=True):
            assert one['file'] == another['file']
            assert [found['index'] for found in one['predictions']] == [
                found['index'] for found in another['predictions']]
            assert [found['probability'] for found in one['predictions']] == pytest.approx(
                [found['probability'] for found in another['predictions']], rel=1e-3)


def test_progress_is_shown_on_many_files_only(tmp_path: Path, capsys: pytest.CaptureFixture[str],
                                              monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.stderr, 'isatty', lambda: True)
    for number in range(4):
        Image.new('RGB', (40, 30), (60 * number, 0, 0)).save(tmp_path / f'{number}.png')
    assert main(['predict', str(tmp_path), '--batch-size', '2']) == 0
    assert '4/4' in capsys.readouterr().err
    assert main(['predict', str(tmp_path)]) == 0
    assert capsys.readouterr().err == ''


def test_a_folder_without_images_is_an_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / 'notes.txt').touch()
    assert main(['predict', str(tmp_path)]) == 2
    assert str(tmp_path) in capsys.readouterr().err


def test_a_checkpoint_takes_the_place_of_the_weights(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import torch

    model = zoo.create_model('mobilenetv2_035', num_classes=3)
    with torch.no_grad():
        model.get_classifier().weight.zero_()
        model.get_classifier().bias.copy_(torch.tensor([0.0, 2.0, 1.0]))
    torch.save(model.state_dict(), tmp_path / 'mine.pth')
    assert main(['predict', str(PHOTOS / 'cat.jpg'), '--model', 'mobilenetv2_035', '--num-classes', '3', '--checkpoint',
                 str(tmp_path / 'mine.pth'), '--json']) == 0
    (line,) = capsys.readouterr().out.splitlines()
    found = json.loads(line)['predictions']
    assert [one['index'] for one in found] == [1, 2, 0]
    assert [one['probability'] for one in found] == pytest.approx(torch.tensor([2.0, 1, 0]).softmax(0).tolist())


@pytest.mark.parametrize('command', ['predict', 'validate'])
def test_a_checkpoint_of_other_classes_is_an_error_in_the_words_of_the_command(
        command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.save(zoo.create_model('mobilenetv2_035', num_classes=3).state_dict(), tmp_path / 't.pth')
    arguments = [command, str(PHOTOS), '--model', 'mobilenetv2_035', '--checkpoint', str(tmp_path / 't.pth')]
    for more, classes in (([], 1000), (['--num-classes', '5'], 5)):
        assert main([*arguments, *more]) == 2
        said = capsys.readouterr().err
        assert f'has 3 classes, and the network {classes}. Use --num-classes 3.' in said and 'create_model' not in said


def test_arguments_that_a_checkpoint_needs_are_advised_as_options(tmp_path: Path,
                                                                  capsys: pytest.CaptureFixture[str]) -> None:
    torch.save(torchvision.models.mobilenet_v3_small(num_classes=4).state_dict(), tmp_path / 't.pth')
    arguments = ['predict', str(PHOTOS / 'cat.jpg'), '--checkpoint', str(tmp_path / 't.pth'), '--num-classes', '4']
    assert main([*arguments, '--model', 'mobilenetv3_small_100']) == 2
    advice = re.search(r'Use (--model .*)\.$', capsys.readouterr().err.strip())[1]
    assert '--model-kwargs' in advice and main([*arguments, *shlex.split(advice)]) == 0
    assert main([*arguments, '--model', 'mobilenetv3_small_100', '--model-kwargs', 'bn_ep=1']) == 2
    assert "--model-kwargs: mobilenetv3_small_100: option 'bn_ep'" in capsys.readouterr().err


@pytest.mark.parametrize(('pattern', 'first'), [
    ('efficientnet_b0.ra_in1k', 'efficientnet_b0.ra_in1k'), ('timm/mixnet_s.ft_in1k', 'mixnet_s.ft_in1k'),
    ('EfficientNet_B0', 'efficientnet_b0'), ('*_b1.ra4*', 'efficientnet_b1.ra4_e3600_r240_in1k')])
def test_list_finds_names_as_they_are_written(pattern: str, first: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(['list', pattern]) == 0
    assert capsys.readouterr().out.splitlines() == [first]


def test_list_says_what_timm_has_and_what_is_near(capsys: pytest.CaptureFixture[str]) -> None:
    absent = min(names_of_timm() - set(zoo.list_models()))
    assert main(['list', absent]) == 1 and f'timm has {absent}, and zoo has not yet' in capsys.readouterr().err
    assert main(['list', 'efficientnet_b0.ra_in1']) == 1
    assert 'efficientnet_b0.ra_in1k' in capsys.readouterr().err


def test_photographs_are_predicted_upright(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    photo = Image.open(PHOTOS / 'espresso.jpg').convert('RGB')
    photo.save(tmp_path / 'a.png')
    photo.transpose(Image.Transpose.ROTATE_90).save(tmp_path / 'b.png', exif=exif)
    assert main(['predict', str(tmp_path), '--json', '--device', 'cpu']) == 0
    upright, turned = (json.loads(line)['predictions'] for line in capsys.readouterr().out.splitlines())
    assert upright == turned
