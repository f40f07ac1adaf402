/* Leads sockets of a node to the endpoints of Services: at connect() and sendto(), so that no packet is translated.
 *
 * An address that is in `frontends` is replaced by one of its `backends`. What is not there, or has gone between two looks, is
 * left as it is: nftables serves it, refuses it or drops it. IPv4 addresses are in their IPv6 form, so one map serves both.
 * Source: linux/bpf.h (CGROUP_SOCK_ADDR), bpf-helpers(7).
 */
#include <linux/bpf.h>

#define SECTION(name) __attribute__((section(name), used))
#define MAP(name, kind, entries, key_type, value_type, map_options) \
	struct { \
		int (*type)[kind]; \
		int (*max_entries)[entries]; \
		int (*map_flags)[map_options]; \
		key_type *key; \
		value_type *value; \
	} name SECTION(".maps")

static void *(*lookup)(void *map, const void *key) = (void *)BPF_FUNC_map_lookup_elem;
static long (*update)(void *map, const void *key, const void *value, __u64 flags) = (void *)BPF_FUNC_map_update_elem;
static __u32 (*random)(void) = (void *)BPF_FUNC_get_prandom_u32;
static __u64 (*socket_cookie)(void *context) = (void *)BPF_FUNC_get_socket_cookie;
static __u64 (*netns_cookie)(void *context) = (void *)BPF_FUNC_get_netns_cookie;

enum { TCP = 6, UDP = 17, PASS = 1 };

struct address { __u32 words[4]; };
struct frontend { struct address address; __u16 port; __u8 protocol, unused; };
struct choice { __u32 id, count; };
struct slot { __u32 id, number; };
struct backend { struct address address; __u16 port, unused; };
/* An address as one socket sees it: that of an endpoint it talks to, or that of a Service it sent to. */
struct seen { __u64 cookie; struct address address; __u16 port, unused[3]; };
struct origin { __u64 netns; struct address address; __u16 port, unused[3]; };

MAP(frontends, BPF_MAP_TYPE_HASH, 1 << 16, struct frontend, struct choice, BPF_F_NO_PREALLOC);
MAP(backends, BPF_MAP_TYPE_HASH, 1 << 18, struct slot, struct backend, BPF_F_NO_PREALLOC);
/* What a socket asked for, by the endpoint it was led to: for answers and getpeername(). */
MAP(tcp_origins, BPF_MAP_TYPE_LRU_HASH, 1 << 15, struct seen, struct origin, 0);
MAP(udp_origins, BPF_MAP_TYPE_LRU_HASH, 1 << 15, struct seen, struct origin, 0);
/* Where a socket that is not connected sent its last datagram to a Service: a flow stays with its endpoint. */
MAP(udp_flows, BPF_MAP_TYPE_LRU_HASH, 1 << 15, struct seen, struct backend, 0);

static __attribute__((always_inline)) struct seen seen_by(void *context, const struct address *address, __u16 port)
{
	struct seen seen = { .cookie = socket_cookie(context), .address = *address, .port = port };
	return seen;
}

static __attribute__((always_inline)) int draw(const struct frontend *to, struct backend *chosen)
{
	struct choice *choice = lookup(&frontends, to);
	if (!choice || !choice->count)
		return 0;
	struct slot slot = { .id = choice->id, .number = random() % choice->count };
	struct backend *found = lookup(&backends, &slot);
	if (!found)
		return 0;
	*chosen = *found;
	return 1;
}

static __attribute__((always_inline)) void remember(void *context, const struct frontend *to, const struct backend *chosen)
{
	struct seen endpoint = seen_by(context, &chosen->address, chosen->port);
	struct origin origin = { .netns = netns_cookie(context), .address = to->address, .port = to->port };
	if (to->protocol == TCP)
		update(&tcp_origins, &endpoint, &origin, BPF_ANY);
	else
		update(&udp_origins, &endpoint, &origin, BPF_ANY);
}

static __attribute__((always_inline)) int lead(void *context, const struct frontend *to, struct backend *chosen)
{
	if ((to->protocol != TCP && to->protocol != UDP) || !draw(to, chosen))
		return 0;
	remember(context, to, chosen);
	return 1;
}

static __attribute__((always_inline)) struct origin *origin_of(void *context, __u32 protocol, const struct address *address, __u16 port)
{
	struct seen endpoint = seen_by(context, address, port);
	return protocol == TCP ? lookup(&tcp_origins, &endpoint) : lookup(&udp_origins, &endpoint);
}

static __attribute__((always_inline)) int lead_datagram(void *context, const struct frontend *to, struct backend *chosen)
{
	if (!lookup(&frontends, to))
		return 0;
	struct seen service = seen_by(context, &to->address, to->port);
	struct backend *last = lookup(&udp_flows, &service);
	if (last) {
		*chosen = *last;
		if (!origin_of(context, UDP, &chosen->address, chosen->port))
			remember(context, to, chosen);
		return 1;
	}
	if (!lead(context, to, chosen))
		return 0;
	update(&udp_flows, &service, chosen, BPF_ANY);
	return 1;
}

static __attribute__((always_inline)) struct address four(const struct bpf_sock_addr *context)
{
	struct address address = { { 0, 0, __builtin_bswap32(0xffff), context->user_ip4 } };
	return address;
}

static __attribute__((always_inline)) struct address six(const struct bpf_sock_addr *context)
{
	struct address address = { { context->user_ip6[0], context->user_ip6[1], context->user_ip6[2], context->user_ip6[3] } };
	return address;
}

static __attribute__((always_inline)) void write_four(struct bpf_sock_addr *context, const struct address *address, __u16 port)
{
	context->user_ip4 = address->words[3];
	context->user_port = port;
}

static __attribute__((always_inline)) void write_six(struct bpf_sock_addr *context, const struct address *address, __u16 port)
{
	context->user_ip6[0] = address->words[0];
	context->user_ip6[1] = address->words[1];
	context->user_ip6[2] = address->words[2];
	context->user_ip6[3] = address->words[3];
	context->user_port = port;
}

#define THERE(hook, family, find) \
	SECTION("cgroup/" #hook) int hook(struct bpf_sock_addr *context) \
	{ \
		struct frontend to = { .address = family(context), .port = context->user_port, .protocol = context->protocol }; \
		struct backend chosen; \
		if (find(context, &to, &chosen)) \
			write_##family(context, &chosen.address, chosen.port); \
		return PASS; \
	}

#define BACK(hook, family) \
	SECTION("cgroup/" #hook) int hook(struct bpf_sock_addr *context) \
	{ \
		struct address from = family(context); \
		struct origin *origin = origin_of(context, context->protocol, &from, context->user_port); \
		if (origin) \
			write_##family(context, &origin->address, origin->port); \
		return PASS; \
	}

THERE(connect4, four, lead)
THERE(connect6, six, lead)
THERE(sendmsg4, four, lead_datagram)
THERE(sendmsg6, six, lead_datagram)
BACK(recvmsg4, four)
BACK(recvmsg6, six)
BACK(getpeername4, four)
BACK(getpeername6, six)

char _license[] SECTION("license") = "GPL";
