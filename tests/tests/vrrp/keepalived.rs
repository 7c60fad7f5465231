//! Directors with lb beside directors with Debian's keepalived: `a` runs lb, `b` runs keepalived.

mod check;
mod disagreements;
mod flaps;
mod groups;
mod notifications;
mod preemption;
mod program;
mod roles;
mod router;
mod seeds;
mod tracking;
