"""`zoo train` as a script: python train.py RECIPE.yaml DATA, or under torchrun"""
import sys

from zoo.cli import main

if __name__ == '__main__':
    sys.exit(main(['train', *sys.argv[1:]]))
