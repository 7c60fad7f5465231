//! Which words there are in which block (`keepalived.conf(5)`), so that statements are told apart where no line break
//! does it, braces that are missing are noticed, and a typo is understood.

/// A block: what stands between two braces.
pub(super) struct Block {
    pub(super) words: &'static [Word],
    /// Whether its lines are elements of a list (addresses, names), not statements.
    pub(super) is_list: bool,
}

/// A keyword.
pub(super) struct Word {
    pub(super) name: &'static str,
    /// How many words it needs behind it; the next keyword begins another statement.
    pub(super) least: usize,
    /// Whether whatever is on its line belongs to it.
    pub(super) takes_line: bool,
    pub(super) block: Option<&'static Block>,
}

impl Block {
    pub(super) fn word(&self, text: &str) -> Option<&'static Word> {
        self.words.iter().find(|word| word.name.eq_ignore_ascii_case(text))
    }
}

/// A switch, perhaps with a word behind it.
const fn switch(name: &'static str) -> Word {
    Word { name, least: 0, takes_line: false, block: None }
}

const fn value(name: &'static str) -> Word {
    Word { name, least: 1, takes_line: false, block: None }
}

/// A command, or anything else that may have any word in it.
const fn line(name: &'static str) -> Word {
    Word { name, least: 1, takes_line: true, block: None }
}

const fn block(name: &'static str, least: usize, block: &'static Block) -> Word {
    Word { name, least, takes_line: false, block: Some(block) }
}

/// A list, or a block that lb has nothing of.
pub(super) static LIST: Block = Block { words: &[], is_list: true };

pub(super) static FILE: Block = Block {
    is_list: false,
    words: &[
        block("global_defs", 0, &GLOBAL),
        block("vrrp_script", 1, &SCRIPT),
        block("vrrp_sync_group", 1, &SYNC_GROUP),
        block("vrrp_instance", 1, &INSTANCE),
        block("virtual_server_group", 1, &LIST),
        block("virtual_server", 1, &VIRTUAL_SERVER),
        block("static_ipaddress", 0, &LIST),
        block("static_routes", 0, &LIST),
        block("static_rules", 0, &LIST),
        block("track_group", 1, &LIST),
        block("vrrp_track_process", 1, &LIST),
        block("track_process", 1, &LIST),
        block("vrrp_track_file", 1, &LIST),
        block("track_file", 1, &LIST),
        block("bfd_instance", 1, &LIST),
        block("garp_group", 0, &LIST),
        block("interface_up_down_delays", 0, &LIST),
        block("linkbeat_interfaces", 0, &LIST),
        block("SSL", 0, &LIST),
        value("net_namespace"),
        value("net_namespace_ipvs"),
        value("namespace_with_ipsets"),
        value("instance"),
        switch("use_pid_dir"),
    ],
};

static GLOBAL: Block = Block {
    is_list: false,
    words: &[
        block("notification_email", 0, &LIST),
        value("notification_email_from"),
        value("smtp_server"),
        value("smtp_helo_name"),
        value("smtp_connect_timeout"),
        switch("smtp_alert"),
        switch("smtp_alert_vrrp"),
        switch("smtp_alert_checker"),
        value("router_id"),
        value("vrrp_version"),
        line("lvs_timeouts"),
        line("lvs_sync_daemon"),
        switch("lvs_flush"),
        switch("lvs_flush_on_stop"),
        value("lvs_sync_daemon_interface"),
        value("vrrp_mcast_group4"),
        value("vrrp_mcast_group6"),
        switch("vrrp_strict"),
        switch("vrrp_skip_check_adv_addr"),
        switch("vrrp_iptables"),
        switch("vrrp_ipsets"),
        value("vrrp_garp_interval"),
        value("vrrp_gna_interval"),
        value("vrrp_garp_master_delay"),
        value("vrrp_garp_master_repeat"),
        value("vrrp_garp_master_refresh"),
        value("vrrp_garp_master_refresh_repeat"),
        value("vrrp_garp_lower_prio_delay"),
        value("vrrp_garp_lower_prio_repeat"),
        switch("vrrp_lower_prio_no_advert"),
        switch("vrrp_higher_prio_send_advert"),
        value("vrrp_priority"),
        value("vrrp_rt_priority"),
        switch("vrrp_no_swap"),
        value("vrrp_startup_delay"),
        line("vrrp_notify_fifo"),
        line("vrrp_notify_fifo_script"),
        value("checker_priority"),
        value("checker_rt_priority"),
        switch("checker_no_swap"),
        switch("checker_log_all_failures"),
        line("lvs_notify_fifo"),
        line("lvs_notify_fifo_script"),
        line("notify_fifo"),
        line("notify_fifo_script"),
        line("startup_script"),
        line("shutdown_script"),
        value("process_names"),
        value("default_interface"),
        line("linkbeat_use_polling"),
        line("script_user"),
        switch("enable_script_security"),
        switch("dynamic_interfaces"),
        switch("enable_dbus"),
        value("enable_snmp_vrrp"),
        switch("enable_snmp_checker"),
        switch("enable_snmp_rfc"),
        switch("enable_traps"),
        value("snmp_socket"),
        value("max_auto_priority"),
        switch("use_symlink_paths"),
        switch("nftables"),
        switch("reload_check_config"),
    ],
};

static SCRIPT: Block = Block {
    is_list: false,
    words: &[
        line("script"),
        value("interval"),
        value("timeout"),
        value("weight"),
        value("rise"),
        value("fall"),
        line("user"),
        switch("init_fail"),
    ],
};

static SYNC_GROUP: Block = Block {
    is_list: false,
    words: &[
        block("group", 0, &LIST),
        block("track_interface", 0, &LIST),
        block("track_script", 0, &LIST),
        block("track_file", 0, &LIST),
        block("track_process", 0, &LIST),
        block("track_bfd", 0, &LIST),
        line("notify_master"),
        line("notify_backup"),
        line("notify_fault"),
        line("notify_stop"),
        line("notify"),
        switch("smtp_alert"),
        switch("global_tracking"),
        switch("sync_group_tracking_weight"),
    ],
};

static INSTANCE: Block = Block {
    is_list: false,
    words: &[
        value("state"),
        value("interface"),
        value("virtual_router_id"),
        value("priority"),
        value("advert_int"),
        value("version"),
        switch("nopreempt"),
        switch("preempt"),
        value("preempt_delay"),
        block("authentication", 0, &AUTHENTICATION),
        block("auth_hmac", 0, &LIST),
        block("virtual_ipaddress", 0, &LIST),
        block("virtual_ipaddress_excluded", 0, &LIST),
        block("virtual_routes", 0, &LIST),
        block("virtual_rules", 0, &LIST),
        block("track_interface", 0, &LIST),
        block("track_script", 0, &LIST),
        block("track_file", 0, &LIST),
        block("track_process", 0, &LIST),
        block("track_bfd", 0, &LIST),
        block("unicast_peer", 0, &LIST),
        value("mcast_src_ip"),
        value("unicast_src_ip"),
        value("mcast_dst_ip"),
        switch("track_src_ip"),
        switch("check_unicast_src"),
        value("unicast_ttl"),
        switch("unicast_fault_no_peer"),
        switch("use_vmac"),
        switch("vmac_xmit_base"),
        switch("use_ipvlan"),
        switch("dont_track_primary"),
        switch("native_ipv6"),
        switch("promote_secondaries"),
        switch("accept"),
        switch("no_accept"),
        switch("strict_mode"),
        switch("skip_check_adv_addr"),
        switch("no_virtual_ipaddress"),
        value("garp_master_delay"),
        value("garp_master_repeat"),
        value("garp_master_refresh"),
        value("garp_master_refresh_repeat"),
        value("garp_lower_prio_delay"),
        value("garp_lower_prio_repeat"),
        value("garp_extra_if"),
        value("down_timer_adverts"),
        switch("lower_prio_no_advert"),
        switch("higher_prio_send_advert"),
        value("lvs_sync_daemon_interface"),
        value("kernel_rx_buf_size"),
        switch("linkbeat_use_polling"),
        switch("old_unicast_checksum"),
        switch("v3_checksum_as_v2"),
        line("notify_master"),
        line("notify_backup"),
        line("notify_fault"),
        line("notify_stop"),
        line("notify"),
        line("notify_master_rx_lower_pri"),
        switch("notify_priority_changes"),
        switch("smtp_alert"),
        switch("debug"),
    ],
};

static AUTHENTICATION: Block = Block { is_list: false, words: &[value("auth_type"), value("auth_pass")] };

static VIRTUAL_SERVER: Block = Block {
    is_list: false,
    words: &[
        value("lvs_sched"),
        value("lb_algo"),
        line("lvs_method"),
        value("lb_kind"),
        value("protocol"),
        switch("persistence_timeout"),
        value("persistence_granularity"),
        value("persistence_engine"),
        switch("sh-port"),
        switch("sh-fallback"),
        switch("mh-port"),
        switch("mh-fallback"),
        switch("flag-1"),
        switch("flag-2"),
        switch("flag-3"),
        switch("ops"),
        switch("ha_suspend"),
        switch("smtp_alert"),
        value("virtualhost"),
        value("snmp_name"),
        switch("alpha"),
        switch("omega"),
        value("quorum"),
        value("hysteresis"),
        line("quorum_up"),
        line("quorum_down"),
        value("ip_family"),
        value("sorry_server"),
        switch("sorry_server_inhibit"),
        line("sorry_server_lvs_method"),
        value("connect_timeout"),
        value("retry"),
        value("nb_get_retry"),
        value("delay_before_retry"),
        value("warmup"),
        value("delay_loop"),
        switch("inhibit_on_failure"),
        value("weight"),
        block("real_server", 1, &REAL_SERVER),
    ],
};

static REAL_SERVER: Block = Block {
    is_list: false,
    words: &[
        value("weight"),
        line("lvs_method"),
        value("lb_kind"),
        switch("inhibit_on_failure"),
        line("notify_up"),
        line("notify_down"),
        value("uthreshold"),
        value("lthreshold"),
        switch("smtp_alert"),
        value("virtualhost"),
        value("snmp_name"),
        switch("alpha"),
        value("connect_timeout"),
        value("retry"),
        value("nb_get_retry"),
        value("delay_before_retry"),
        value("warmup"),
        value("delay_loop"),
        block("HTTP_GET", 0, &CHECKER),
        block("SSL_GET", 0, &CHECKER),
        block("TCP_CHECK", 0, &CHECKER),
        block("SMTP_CHECK", 0, &CHECKER),
        block("DNS_CHECK", 0, &CHECKER),
        block("MISC_CHECK", 0, &CHECKER),
        block("PING_CHECK", 0, &CHECKER),
        block("UDP_CHECK", 0, &CHECKER),
        block("FILE_CHECK", 0, &CHECKER),
        block("BFD_CHECK", 0, &CHECKER),
    ],
};

/// Of all checkers together: what one of them does not have is told apart where it is read.
static CHECKER: Block = Block {
    is_list: false,
    words: &[
        value("connect_ip"),
        value("connect_port"),
        value("bindto"),
        value("bind_if"),
        value("bind_port"),
        value("fwmark"),
        value("connect_timeout"),
        value("retry"),
        value("nb_get_retry"),
        value("delay_before_retry"),
        value("warmup"),
        value("delay_loop"),
        switch("alpha"),
        switch("log_all_failures"),
        value("http_protocol"),
        switch("fast_recovery"),
        switch("enable_sni"),
        value("sni_name"),
        switch("tls_compliant"),
        value("virtualhost"),
        block("url", 0, &URL),
        block("host", 0, &HOST),
        value("helo_name"),
        value("type"),
        value("name"),
        line("misc_path"),
        value("misc_timeout"),
        switch("misc_dynamic"),
        line("user"),
        line("payload"),
        line("require_reply"),
        value("min_reply_length"),
        value("max_reply_length"),
        value("track_file"),
        switch("dynamic"),
        value("weight"),
    ],
};

static URL: Block = Block {
    is_list: false,
    words: &[
        value("path"),
        value("digest"),
        line("status_code"),
        value("virtualhost"),
        value("regex"),
        switch("regex_no_match"),
        line("regex_options"),
        line("regex_stack"),
        value("regex_min_offset"),
        value("regex_max_offset"),
        switch("tls_compliant"),
    ],
};

static HOST: Block = Block {
    is_list: false,
    words: &[
        value("connect_ip"),
        value("connect_port"),
        value("bindto"),
        value("bind_port"),
        value("bind_if"),
        value("fwmark"),
        value("connect_timeout"),
    ],
};
