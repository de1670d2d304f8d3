//! What rules look up: staff and pools, stores, groups of customers, products, WeCom's tag ids, bodies of contents.
//!
//! Kept apart from playbooks, so that a new product needs no new version of any; the same in every partition.

use crate::command::TagRef;
use crate::value::Number;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// The directory of one tenant: the latest entry of each id.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Directory {
    /// Staff by user id.
    pub staff: BTreeMap<String, Staff>,
    /// Groups of customers by native id (`wr…`).
    pub groups: BTreeMap<String, Group>,
    /// Products by id.
    pub products: BTreeMap<String, Product>,
    /// Stores by id → name.
    pub stores: BTreeMap<String, String>,
    /// WeCom's tag ids (`et…`) → tags.
    pub tags: BTreeMap<String, TagRef>,
    /// What is sent under the id that playbooks give a content.
    pub contents: BTreeMap<String, Body>,
}

/// A staff member.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Staff {
    /// Pools that contacts are assigned from.
    pub pools: BTreeSet<String>,
    /// The store they work in; empty: none.
    pub store: String,
    /// Takes new contacts.
    pub active: bool,
}

/// A group of customers.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Group {
    /// What people call it.
    pub name: String,
    /// `妈妈群`, `闪购群`…
    pub kind: String,
}

/// A product.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Product {
    /// Items that are this product, by the shop's id.
    pub items: BTreeSet<String>,
    /// SKUs that are this product: `outer_sku`, or the shop's id.
    pub skus: BTreeSet<String>,
    /// How many days one unit lasts.
    pub days_per_unit: Option<Number>,
}

/// What is sent of a content.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Body {
    /// The text, `{name}` where a variable stands.
    pub text: String,
    /// Media in the order of sending, as whoever sends knows them.
    pub media: Vec<String>,
}

impl Body {
    /// Whether there is anything to send.
    pub const fn is_there(&self) -> bool {
        !self.text.is_empty() || !self.media.is_empty()
    }
}

/// One entry, as it is said.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Entry {
    /// A staff member.
    Staff(String, Staff),
    /// A group.
    Group(String, Group),
    /// A product.
    Product(String, Product),
    /// A store and its name.
    Store(String, String),
    /// A WeCom tag id; `None`: it means no tag of ours.
    Tag(String, Option<TagRef>),
    /// A content.
    Content(String, Body),
}

impl Directory {
    /// Nothing is known.
    pub const EMPTY: Self = Self {
        staff: BTreeMap::new(),
        groups: BTreeMap::new(),
        products: BTreeMap::new(),
        stores: BTreeMap::new(),
        tags: BTreeMap::new(),
        contents: BTreeMap::new(),
    };

    /// Takes an entry over in place of what was known under its id.
    pub fn set(&mut self, entry: Entry) {
        match entry {
            Entry::Staff(id, staff) => drop(self.staff.insert(id, staff)),
            Entry::Group(id, group) => drop(self.groups.insert(id, group)),
            Entry::Product(id, product) => drop(self.products.insert(id, product)),
            Entry::Store(id, name) => drop(self.stores.insert(id, name)),
            Entry::Tag(id, Some(tag)) => drop(self.tags.insert(id, tag)),
            Entry::Tag(id, None) => drop(self.tags.remove(&id)),
            Entry::Content(id, body) => drop(self.contents.insert(id, body)),
        }
    }

    /// Whether the group with this native id is called this, or is this.
    pub fn is_group(&self, native_id: &str, named: &str) -> bool {
        native_id == named || self.groups.get(native_id).is_some_and(|group| group.name == named)
    }

    /// What kind of group this is.
    pub fn group_kind(&self, native_id: &str) -> Option<&str> {
        self.groups.get(native_id).map(|group| group.kind.as_str()).filter(|kind| !kind.is_empty())
    }

    /// Products that an item or a SKU belongs to, by id.
    pub fn products_of<'a>(&'a self, item: &'a str, sku: &'a str) -> impl Iterator<Item = (&'a str, &'a Product)> {
        let is_it = move |product: &Product| {
            (!sku.is_empty() && product.skus.contains(sku)) || (!item.is_empty() && product.items.contains(item))
        };
        self.products.iter().filter(move |(_, product)| is_it(product)).map(|(id, product)| (id.as_str(), product))
    }

    /// Active staff of a pool, by id.
    pub fn pool<'a>(&'a self, pool: &'a str) -> impl Iterator<Item = &'a str> {
        let is_in = move |staff: &&(&String, &Staff)| staff.1.active && staff.1.pools.contains(pool);
        self.staff.iter().filter(move |entry| is_in(&entry)).map(|(id, _)| id.as_str())
    }

    /// Active staff of a store, by id.
    pub fn store_staff<'a>(&'a self, store: &'a str) -> impl Iterator<Item = &'a str> {
        let works = move |staff: &Staff| staff.active && !store.is_empty() && staff.store == store;
        self.staff.iter().filter(move |(_, staff)| works(staff)).map(|(id, _)| id.as_str())
    }
}
