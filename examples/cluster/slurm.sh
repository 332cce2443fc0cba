#!/bin/bash
# `sbatch slurm.sh`; again after the time limit, and the run goes on where it stopped.
# One task a machine: Ray divides what is in it. `ray symmetric-run` needs Ray 2.49 or newer, and
# machines that no other Ray runs on (hence --exclusive).
# https://docs.ray.io/en/latest/cluster/vms/user-guides/community/slurm.html
#SBATCH --job-name=inference-scaling
#SBATCH --nodes=4
#SBATCH --ntasks-per-node=1
#SBATCH --exclusive
#SBATCH --cpus-per-task=32
#SBATCH --gpus-per-task=8
#SBATCH --time=08:00:00

set -euo pipefail
source /shared/inference-scaling/.venv/bin/activate
export HARNESS_CHECKPOINTS=/shared/checkpoints

head=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
address=$(srun --nodes=1 --ntasks=1 -w "$head" hostname --ip-address | awk '{print $1}'):6379

srun --nodes="$SLURM_JOB_NUM_NODES" --ntasks="$SLURM_JOB_NUM_NODES" \
    ray symmetric-run --address "$address" --min-nodes "$SLURM_JOB_NUM_NODES" \
    --num-cpus="$SLURM_CPUS_PER_TASK" --num-gpus="$SLURM_GPUS_PER_TASK" -- \
    python -u -m harness run --model sana-1.0-1.6b --workers 32 --device cuda --address auto \
    --out /shared/results/sana
