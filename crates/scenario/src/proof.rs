//! Taking something out of a playbook, to see whether the scenario notices.

use crate::format::{Document, Proof, Scenario, Sources};

impl Scenario {
    /// The scenario and its files with the proof's text replaced wherever it stands in playbooks and directories.
    ///
    /// # Errors
    /// The text stands nowhere: then the proof proves nothing.
    pub fn without(&self, proof: &Proof, sources: &Sources) -> Result<(Self, Sources), String> {
        let (mut changed, mut sources) = (self.clone(), sources.clone());
        let mut found = 0;
        let mut replace = |text: &mut String| {
            found += text.matches(&proof.from).count();
            *text = text.replace(&proof.from, &proof.to);
        };
        let named: Vec<String> = self.files().into_iter().map(str::to_owned).collect();
        sources.iter_mut().filter(|(path, _)| named.contains(path)).for_each(|(_, text)| replace(text));
        for document in changed.all_documents_mut() {
            if let Document::Inline { text, .. } = document {
                replace(text);
            }
        }
        if found == 0 {
            return Err(format!("{}:{}: no playbook of the scenario has `{}`", self.file, proof.line, proof.from));
        }
        Ok((changed, sources))
    }
}
