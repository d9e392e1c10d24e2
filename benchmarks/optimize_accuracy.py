"""How many answers of a network change when `zoo.optimize` runs it in less than float32.

    python benchmarks/optimize_accuracy.py FOLDER_OF_LABELLED_IMAGES CALIBRATION_FOLDER [MODEL ...]

FOLDER is what `zoo validate` takes; the calibration images are not to be among its images. Each line says how many of the
images are right, and for how many the first class is another than in float32.
"""
from __future__ import annotations

import argparse
import io

import torch

import zoo


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('folder')
    parser.add_argument('calibration')
    parser.add_argument('models', nargs='*', default=['tf_efficientnet_lite0.in1k'])
    parser.add_argument('--backends', nargs='+', default=['openvino', 'onnxruntime', 'eager'])
    args = parser.parse_args()
    for name in args.models:
        model = zoo.create_model(name, pretrained=True).eval()
        config = zoo.data.resolve_model_data_config(model)
        source = zoo.data.create_dataset(args.folder, model=model)
        transform = zoo.data.create_transform(**config)
        images = [transform(zoo.data.load_image(io.BytesIO(source.encoded(i)))) for i in range(len(source))]
        targets = torch.tensor([source.target(i) for i in range(len(source))])
        with torch.inference_mode():
            before = torch.cat([model(image[None]).argmax(-1) for image in images])
        print(f'{name}  float32  {int((before == targets).sum())} of {len(targets)} right', flush=True)
        for backend in args.backends:
            for precision in zoo.optimizing.BACKENDS[backend].precisions:
                fast = zoo.optimize(model, images[0][None], backend=backend, precision=precision, tolerance=1.0,
                                    calibration=args.calibration if precision == 'int8' else None)
                found = torch.cat([fast(image[None]).argmax(-1) for image in images])
                print(f'{name}  {backend} {precision}  {int((found == targets).sum())} right, '
                      f'{int((found != before).sum())} first classes differ', flush=True)


if __name__ == '__main__':
    main()
