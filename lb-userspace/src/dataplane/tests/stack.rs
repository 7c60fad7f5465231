//! The stack that the programs take, as old kernels count it: the one at hand may count less.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use aya_obj::Object;
use aya_obj::generated::bpf_insn;

use super::super::object::OBJECT;

/// What a chain of calls may take (`MAX_BPF_STACK`, include/linux/filter.h).
const LIMIT: u64 = 512;
/// Before Linux 6.8 each function's part of it counts in steps of so many bytes, since then in steps of 16
/// (`round_up_stack_depth` of kernel/bpf/verifier.c).
const STEP: u64 = 32;
const FRAME_POINTER: u8 = 10;

#[test]
fn every_chain_of_calls_has_room_on_the_stack_of_linux_6_1() {
    let mut object = Object::parse(OBJECT).unwrap();
    let sections: HashSet<usize> = object.functions.keys().map(|(section, _)| *section).collect();
    object.relocate_calls(&sections).unwrap();
    assert!(object.programs.len() >= 5);
    for (name, program) in &object.programs {
        let functions = functions(&object.functions[&program.function_key()].instructions);
        let taken = deepest(0, &functions);
        println!("{name}: {taken} bytes");
        assert!(taken <= LIMIT, "{name} takes {taken} bytes of stack, and Linux 6.1 has {LIMIT}");
        assert!(name == "clock" || taken > STEP, "{name} calls nothing, and has no variables?");
    }
}

/// A function of a program.
#[derive(Default)]
struct Function {
    /// Bytes of the stack that it uses.
    depth: u64,
    calls: BTreeSet<usize>,
}

/// The functions of a program, by where they begin.
fn functions(instructions: &[bpf_insn]) -> BTreeMap<usize, Function> {
    let targets = instructions.iter().enumerate().filter_map(|(place, insn)| target(place, insn));
    let mut functions: BTreeMap<usize, Function> =
        targets.chain([0]).map(|start| (start, Function::default())).collect();
    // What is known of registers: how far they point below the frame pointer.
    let mut below = BTreeMap::new();
    for (place, insn) in instructions.iter().enumerate() {
        let Some((_, function)) = functions.range_mut(..=place).next_back() else { continue };
        function.calls.extend(target(place, insn));
        let (to, from) = (insn.dst_reg(), insn.src_reg());
        let used: i64 = match (insn.code, insn.code & 7) {
            // A load, and two kinds of stores: how far below a register.
            (_, 1) if from == FRAME_POINTER => -i64::from(insn.off),
            (_, 2 | 3) if to == FRAME_POINTER => -i64::from(insn.off),
            // A copy of the frame pointer, and what is added to one.
            (0xbf, _) if from == FRAME_POINTER => {
                below.insert(to, 0);
                continue;
            }
            (0x07, _) if below.contains_key(&to) => {
                let offset = below[&to] - i64::from(insn.imm);
                below.insert(to, offset);
                offset
            }
            (_, 0 | 1 | 4 | 7) => {
                below.remove(&to);
                continue;
            }
            _ => continue,
        };
        function.depth = function.depth.max(u64::try_from(used).unwrap_or(0));
    }
    functions
}

/// Where a function begins that is called, or whose address is taken for a helper to call it.
fn target(place: usize, insn: &bpf_insn) -> Option<usize> {
    const CALL: (u8, u8) = (0x85, 1);
    const ADDRESS: (u8, u8) = (0x18, 4);
    let is_one = [CALL, ADDRESS].contains(&(insn.code, insn.src_reg()));
    is_one.then(|| (place + 1).saturating_add_signed(insn.imm as isize))
}

/// What a function and those that it calls take at most.
fn deepest(start: usize, functions: &BTreeMap<usize, Function>) -> u64 {
    let function = &functions[&start];
    let own = function.depth.max(1).next_multiple_of(STEP);
    own + function.calls.iter().map(|callee| deepest(*callee, functions)).max().unwrap_or(0)
}
