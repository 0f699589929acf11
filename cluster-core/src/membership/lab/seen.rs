//! What a script can see: what hosts list, find and suspected, and what was declared, in words.
//!
//! Not here: anything that changes the lab.

use super::*;

impl Lab {
    /// "n1 alive, n2 suspect": what a host lists.
    pub fn list(&self, host: usize) -> String {
        let of = |m: &Member| format!("{} {:?}", m.record.name, m.record.state).to_lowercase();
        self.hosts[host].members.members().map(of).collect::<Vec<_>>().join(", ")
    }

    /// "n3 HostGone, n4 AgentGone": what the host finds now.
    pub fn findings(&self, host: usize) -> String {
        let report = self.hosts[host].members.report(self.now);
        let of = |f: &Finding| format!("n{} {:?}", f.node.0, f.trouble);
        report.findings.iter().map(of).collect::<Vec<_>>().join(", ")
    }

    /// "4064 n4": what was declared when.
    pub fn declarations(&self) -> Vec<(u64, String)> {
        let names =
            |v: &Vec<Verdict>| v.iter().map(|v| format!("n{}", v.node.0)).collect::<Vec<_>>().join(" ");
        self.declared.iter().map(|(ms, _, verdicts)| (*ms, names(verdicts))).collect()
    }

    pub fn happened(&self, host: usize, wanted: impl Fn(&Effect) -> bool) -> Vec<u64> {
        self.hosts[host].log.iter().filter(|(_, e)| wanted(e)).map(|(ms, _)| *ms).collect()
    }

    /// When this host suspected, or heard others suspect, the other one.
    pub fn suspected(&self, host: usize, of: usize) -> Vec<u64> {
        self.happened(
            host,
            |e| matches!(e, Effect::Changed { node, state: MemberState::Suspect, .. } if *node == id(of)),
        )
    }
}
