"""Run `python -m dlcli`, the form that PyTorch's launcher `torchrun -m dlcli` needs."""

from dlcli.cli.app import main

if __name__ == "__main__":
    main()
