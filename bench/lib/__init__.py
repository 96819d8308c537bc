# SPDX-License-Identifier: Apache-2.0
"""What the benches share: rows, the pool with our guest, the Linux guest, plots."""
