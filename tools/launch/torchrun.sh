#!/usr/bin/env bash
# Train on every GPU of this machine, or of several: tools/launch/torchrun.sh PRESET --shards DIR --out RUN ...
# On several machines set NNODES, NODE_RANK and MASTER_ADDR for each. To go on with a run: torchrun ... mermed-train resume RUN.
set -euo pipefail
processes=${NPROC_PER_NODE:-$(python -c 'import torch; print(max(torch.cuda.device_count(), 1))')}
if [[ ${NNODES:-1} == 1 ]]; then
  where=(--standalone)
else
  where=(--nnodes "$NNODES" --node-rank "$NODE_RANK" --master-addr "$MASTER_ADDR" --master-port "${MASTER_PORT:-29500}")
fi
exec torchrun "${where[@]}" --nproc-per-node "$processes" --no-python mermed-train run "$@"
