//! `PIF`: network interfaces of hosts.

use crate::schema::Ty;
use crate::schema::class::{Class, Field, Messages, define_class, read_only, read_write};
use crate::schema::message::Definition;

/// The class.
pub(super) static PIF: Class = define_class!("PIF", Messages::Stored, FIELDS, MESSAGES);

static FIELDS: &[Field] = &[
    read_only("uuid", Ty::String),
    read_only("device", Ty::String),
    read_only("network", Ty::Ref("network")),
    read_only("host", Ty::Ref("host")),
    read_only("MAC", Ty::String),
    read_only("MTU", Ty::Int),
    read_only("VLAN", Ty::Int),
    read_only("metrics", Ty::Ref("PIF_metrics")),
    read_only("physical", Ty::Bool),
    read_only("currently_attached", Ty::Bool),
    read_only("ip_configuration_mode", Ty::String),
    read_only("IP", Ty::String),
    read_only("netmask", Ty::String),
    read_only("gateway", Ty::String),
    read_only("DNS", Ty::String),
    read_only("bond_slave_of", Ty::Ref("Bond")),
    read_only("bond_master_of", Ty::Set(&Ty::Ref("Bond"))),
    read_only("VLAN_master_of", Ty::Ref("VLAN")),
    read_only("VLAN_slave_of", Ty::Set(&Ty::Ref("VLAN"))),
    read_only("management", Ty::Bool),
    read_write("other_config", Ty::STRING_MAP),
    read_only("disallow_unplug", Ty::Bool),
    read_only("tunnel_access_PIF_of", Ty::Set(&Ty::Ref("tunnel"))),
    read_only("tunnel_transport_PIF_of", Ty::Set(&Ty::Ref("tunnel"))),
    read_only("ipv6_configuration_mode", Ty::String),
    read_only("IPv6", Ty::STRING_SET),
    read_only("ipv6_gateway", Ty::String),
    read_only("primary_address_type", Ty::String),
    read_only("managed", Ty::Bool),
    read_only("properties", Ty::STRING_MAP),
    read_only("capabilities", Ty::STRING_SET),
    read_only("igmp_snooping_status", Ty::String),
    read_only("sriov_physical_PIF_of", Ty::Set(&Ty::Ref("network_sriov"))),
    read_only("sriov_logical_PIF_of", Ty::Set(&Ty::Ref("network_sriov"))),
    read_only("PCI", Ty::Ref("PCI")),
];

static MESSAGES: &[Definition] = &[];
