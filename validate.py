"""`zoo validate` as a script: python validate.py DATA --model NAME --pretrained"""
import sys

from zoo.cli import main

if __name__ == '__main__':
    sys.exit(main(['validate', *sys.argv[1:]]))
