/*
 * What bindgen cannot reach from the DPDK headers: macros with arguments, per-lcore variables, bit-fields inside
 * atomics, and fields of rte_mbuf, which moved into anonymous unions between 22.11 and 24.11. Offsets instead of fields
 * let one Rust source serve both.
 */
#ifndef DPDK_SYS_SHIMS_H
#define DPDK_SYS_SHIMS_H

#include <rte_config.h>

#include <stddef.h>
#include <stdint.h>

#include <rte_alarm.h>
#include <rte_bus_vdev.h>
#include <rte_cycles.h>
#include <rte_dev.h>
#include <rte_eal.h>
#include <rte_errno.h>
#include <rte_eth_ring.h>
#include <rte_ethdev.h>
#include <rte_hash.h>
#include <rte_hash_crc.h>
#include <rte_launch.h>
#include <rte_lcore.h>
#include <rte_log.h>
#include <rte_mbuf.h>
#include <rte_mbuf_pool_ops.h>
#include <rte_mempool.h>
#include <rte_memzone.h>
#include <rte_ring.h>
#include <rte_version.h>

enum {
	DPDK_MBUF_BUF_ADDR = offsetof(struct rte_mbuf, buf_addr),
	DPDK_MBUF_DATA_OFF = offsetof(struct rte_mbuf, data_off),
	DPDK_MBUF_REFCNT = offsetof(struct rte_mbuf, refcnt),
	DPDK_MBUF_NB_SEGS = offsetof(struct rte_mbuf, nb_segs),
	DPDK_MBUF_PORT = offsetof(struct rte_mbuf, port),
	DPDK_MBUF_OL_FLAGS = offsetof(struct rte_mbuf, ol_flags),
	DPDK_MBUF_PKT_LEN = offsetof(struct rte_mbuf, pkt_len),
	DPDK_MBUF_DATA_LEN = offsetof(struct rte_mbuf, data_len),
	DPDK_MBUF_VLAN_TCI = offsetof(struct rte_mbuf, vlan_tci),
	DPDK_MBUF_RSS_HASH = offsetof(struct rte_mbuf, hash.rss),
	DPDK_MBUF_BUF_LEN = offsetof(struct rte_mbuf, buf_len),
};

static const uint64_t DPDK_MBUF_RX_RSS_HASH = RTE_MBUF_F_RX_RSS_HASH;
static const uint64_t DPDK_MBUF_RX_VLAN_STRIPPED = RTE_MBUF_F_RX_VLAN_STRIPPED;
static const uint64_t DPDK_MBUF_RX_IP_CKSUM_MASK = RTE_MBUF_F_RX_IP_CKSUM_MASK;
static const uint64_t DPDK_MBUF_RX_IP_CKSUM_GOOD = RTE_MBUF_F_RX_IP_CKSUM_GOOD;
static const uint64_t DPDK_MBUF_RX_IP_CKSUM_BAD = RTE_MBUF_F_RX_IP_CKSUM_BAD;
static const uint64_t DPDK_MBUF_RX_L4_CKSUM_MASK = RTE_MBUF_F_RX_L4_CKSUM_MASK;
static const uint64_t DPDK_MBUF_RX_L4_CKSUM_GOOD = RTE_MBUF_F_RX_L4_CKSUM_GOOD;
static const uint64_t DPDK_MBUF_RX_L4_CKSUM_BAD = RTE_MBUF_F_RX_L4_CKSUM_BAD;

static const uint64_t DPDK_RSS_IP = RTE_ETH_RSS_IP;
static const uint64_t DPDK_RSS_TCP = RTE_ETH_RSS_TCP;
static const uint64_t DPDK_RSS_UDP = RTE_ETH_RSS_UDP;
static const uint64_t DPDK_RX_OFFLOAD_CHECKSUM = RTE_ETH_RX_OFFLOAD_CHECKSUM;
static const uint64_t DPDK_RX_OFFLOAD_RSS_HASH = RTE_ETH_RX_OFFLOAD_RSS_HASH;
static const uint64_t DPDK_RX_OFFLOAD_SCATTER = RTE_ETH_RX_OFFLOAD_SCATTER;
static const uint64_t DPDK_TX_OFFLOAD_MULTI_SEGS = RTE_ETH_TX_OFFLOAD_MULTI_SEGS;
static const uint32_t DPDK_DEV_INTR_LSC = RTE_ETH_DEV_INTR_LSC;
static const uint32_t DPDK_DEV_INTR_RMV = RTE_ETH_DEV_INTR_RMV;

/* The error of the last failed call on this lcore. */
static inline int dpdk_errno(void)
{
	return rte_errno;
}

/* struct rte_eth_link without its bit-fields. */
struct dpdk_link {
	uint32_t speed_mbps;
	uint8_t up;
	uint8_t full_duplex;
	uint8_t autoneg;
};

static inline int dpdk_link_get(uint16_t port, struct dpdk_link *out)
{
	struct rte_eth_link link;
	int ret = rte_eth_link_get_nowait(port, &link);

	if (ret == 0) {
		out->speed_mbps = link.link_speed;
		out->up = link.link_status;
		out->full_duplex = link.link_duplex;
		out->autoneg = link.link_autoneg;
	}
	return ret;
}

/*
 * The driver net_tap says that no frame is longer than Ethernet's usual one, so that rte_eth_dev_set_mtu refuses whatever is
 * larger. It has no such limit: its transmit queues compare with the MTU in the devices' data, to which each has a pointer
 * among its first words. This finds that pointer by where it leads and what stands there, and writes the MTU. The device
 * must be started.
 */
static inline int dpdk_tap_set_mtu(uint16_t port, uint16_t mtu)
{
	const struct rte_memzone *devices = rte_memzone_lookup("rte_eth_dev_data");
	uint16_t now, **words;

	if (devices == NULL || rte_eth_dev_get_mtu(port, &now) != 0)
		return -ENOTSUP;
	words = rte_eth_fp_ops[port].txq.data[0];
	for (int i = 0; i < 2; i++) {
		uintptr_t into = (uintptr_t)words[i] - (uintptr_t)devices->addr;

		if (into < devices->len && into % sizeof(now) == 0 && *words[i] == now) {
			*words[i] = mtu;
			return rte_eth_dev_get_mtu(port, &now) == 0 && now == mtu ? 0 : -ENOTSUP;
		}
	}
	return -ENOTSUP;
}

/* intr_conf of struct rte_eth_conf is made of bit-fields. */
static inline void dpdk_conf_set_intr(struct rte_eth_conf *conf, int link_change, int removal, int rx)
{
	conf->intr_conf.lsc = link_change != 0;
	conf->intr_conf.rmv = removal != 0;
	conf->intr_conf.rxq = rx != 0;
}

#endif
