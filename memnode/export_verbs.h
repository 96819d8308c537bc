/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Slabs over RDMA (lib/wire/verbsop.h), on a thread of its own. Clients read and write by one-sided
 * operations that this process takes no part in; it opens and closes windows for them.
 */
#ifndef DILOS_MEMNODE_EXPORT_VERBS_H
#define DILOS_MEMNODE_EXPORT_VERBS_H

#include <stdbool.h>
#include <stddef.h>

#include "memnode/export.h"

#define EXPORT_VERBS_PORTS_MAX       8u
#define EXPORT_VERBS_ADDRESSES_BYTES 512u

struct export_verbs;

struct export_verbs_config {
    const char *addresses; /* ADDRESS:PORT, separated by commas; NULL: every port with an address */
    bool insecure;
    bool without_windows; /* for tests: as if the device had none */
    uint32_t windows_max; /* for tests: as if the device had so many; 0: as it is */
};

/*
 * Registers the whole arena, which must be pinned (arena_pin), with every device in use and listens
 * at their addresses. Errors, with text naming cause and remedy in ret_error (EXPORT_ERROR_BYTES):
 * -ENODEV nothing to serve on; -EINVAL address; -EACCES not loopback without `insecure`; -ENOMEM
 * the memory can't be registered; other errno of the system. 0 with text in ret_error: some of
 * the ports that were found can't be used, this is why; else it is "".
 */
int export_verbs_open(const struct export_context *context,
                      const struct export_verbs_config *config, struct export_verbs **ret,
                      char *ret_error) MUST_CHECK;
struct export_verbs *export_verbs_close(struct export_verbs *export);

/* ADDRESS:PORT of each port, separated by commas; lives as long as the export. */
const char *export_verbs_addresses(const struct export_verbs *export);

/*
 * Closes the windows on slabs whose grants are invalid already. When it returns 0, no remote key
 * opens them any more, whatever their clients do. -EIO: a device didn't obey; the slabs must not be
 * used. Not on the export's own thread.
 */
int export_verbs_revoke(struct export_verbs *export, const uint32_t *slabs,
                        uint32_t count) MUST_CHECK;
/* As export_context.fence. Not on the export's own thread. */
void export_verbs_fence(struct export_verbs *export, uint32_t slab, uint64_t generation,
                        uint32_t incarnation);
/* The slab's memory is another: registers that. On failure the slab isn't served over RDMA. */
void export_verbs_replaced(struct export_verbs *export, uint32_t slab);

struct export_verbs_status {
    bool windows;          /* every device has windows of type 2B */
    bool bounds;           /* and they end where they should */
    bool device_lost;      /* one is gone, its clients were let go */
    uint32_t queue_count;  /* queue pairs in use */
    uint32_t window_count; /* windows (or regions of slabs) that the devices hold for them */
    uint64_t violations;   /* queue pairs that broke by an access that the device refused */
    char violator[GRANTS_INSTANCE_BYTES]; /* the last one's instance */
    uint64_t violation_ns;                /* when (sys_monotonic_ns) */
};
void export_verbs_status(struct export_verbs *export, struct export_verbs_status *ret);

#endif
