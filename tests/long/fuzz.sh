#!/usr/bin/env bash
# Each fuzz target for FUZZ_SECONDS (600) under AddressSanitizer and UBSan.
exec "$(dirname "$0")/../fuzz/run" "${FUZZ_SECONDS:-600}"
