"""`easrec doctor` without installing the command: see easrec_jax/commands/doctor.py."""

from easrec_jax.commands import doctor
from easrec_jax.runs.cli import main

if __name__ == "__main__":
    main(doctor.command)
