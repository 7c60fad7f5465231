//! The product's data plane without its daemon: real programs and real maps that the product fills.

use lb_userspace::dataplane::{Dataplane, Operation, Options, Tables, View};
use lb_userspace::state::{Desired, plan};

use crate::error::{Error, Result, with_causes};

/// Programs and maps of their own, attached to nothing. What is pinned goes with the lab below whose
/// directory it is.
pub struct Plane {
    dataplane: Dataplane,
    tables: Tables,
}

impl Plane {
    /// Opens what is pinned below `options.bpffs`, or makes it.
    pub fn open(options: &Options) -> Result<Self> {
        let doing = || format!("open a data plane in {}", options.bpffs.display());
        let dataplane = Dataplane::open(options).map_err(failed(doing))?;
        let tables = dataplane.tables().map_err(failed(doing))?;
        Ok(Self { dataplane, tables })
    }

    /// Changes the maps to what is desired, as the daemon does.
    pub fn reconcile(&mut self, desired: &Desired) -> Result<()> {
        let view = self.view();
        for operation in plan(&view, &view, desired).map_err(failed(|| "plan".into()))? {
            self.apply(&operation)?;
        }
        Ok(())
    }

    /// Carries out one change, whether or not the daemon ever would.
    pub fn apply(&mut self, operation: &Operation) -> Result<()> {
        self.tables.apply(operation).map_err(failed(|| format!("apply {operation:?}")))
    }

    /// What the maps say.
    pub fn view(&self) -> View {
        self.tables.view()
    }

    /// The programs and maps.
    pub fn dataplane(&self) -> &Dataplane {
        &self.dataplane
    }

    /// The programs and maps, to change them.
    pub fn dataplane_mut(&mut self) -> &mut Dataplane {
        &mut self.dataplane
    }
}

fn failed<E: std::error::Error>(doing: impl Fn() -> String) -> impl Fn(E) -> Error {
    move |error| Error::Ebpf { doing: doing(), reason: with_causes(&error) }
}
