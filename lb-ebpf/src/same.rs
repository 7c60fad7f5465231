//! Methods of tables that lie over others and do what those do.

/// Methods that do what those of the field `tables` do.
macro_rules! same {
    ($($name:ident($($argument:ident: $kind:ty),*) $(-> $answer:ty)?;)*) => {$(
        #[inline(always)]
        fn $name(&self $(, $argument: $kind)*) $(-> $answer)? {
            self.tables.$name($($argument),*)
        }
    )*};
}

/// Those of [`Tables`](crate::Tables) that change nothing there.
macro_rules! same_looks {
    () => {
        $crate::same::same! {
            settings() -> Option<&Settings>;
            flow_seed() -> FlowSeed;
            service(number: u32) -> Option<&Service>;
            slot(index: u32) -> Option<&Word>;
            destination(number: u32) -> Option<&Destination>;
            load(destination: u32) -> Option<&Load>;
            members(key: &LocalityKey) -> Option<Members>;
            random() -> u32;
            now() -> u32;
            by_hash(table: SlotTable, client: u32) -> u64;
            walk(search: &mut Search);
            search(table: SlotTable, start: Option<u32>) -> Found;
        }
    };
}

/// Those of [`Family`](crate::Family) that change nothing there.
macro_rules! same_looks_of_family {
    () => {
        $crate::same::same! {
            connections() -> &T::Connections;
            half_open() -> &T::Connections;
            index(settings: &Settings) -> Index;
            addresses(position: u32) -> Option<&AddressBucket<W>>;
            find_form(index: Index, key: &[u64; W]) -> u32;
            fragment(packet: &Packet<K>, id: u32) -> Option<u32>;
            rule(scope: u32, packet: &Packet<K>) -> u32;
            admit(packet: &Packet<K>, service: u32) -> Admission;
            find(which: Record, packet: &Packet<K>) -> Option<Entry<'_>>;
        }
    };
}

pub(crate) use {same, same_looks, same_looks_of_family};
