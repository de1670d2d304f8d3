//! Keys of directories.

use super::*;

/// The top level of a directory.
pub static DIRECTORY: Keys = Keys {
    name: "directory",
    about: "The top level of a directory.",
    count: Count::Any,
    keys: &[
        key("kind", Holds::Words(&["directory"]), "What the document is.", "directory").required(),
        key(
            "staff",
            Holds::List(&Holds::Keys(&STAFF), 0),
            "Members of staff.",
            "[{staff: li, pools: [sales], store: s1}]",
        ),
        key("stores", Holds::List(&Holds::Keys(&STORE), 0), "Stores.", "[{store: s1, name: 杭州店}]"),
        key(
            "groups",
            Holds::List(&Holds::Keys(&GROUP), 0),
            "Groups of customers.",
            "[{group: wrABC, name: 复利闪购群, kind: 妈妈群}]",
        ),
        key(
            "products",
            Holds::List(&Holds::Keys(&PRODUCT), 0),
            "Products.",
            "[{product: A, item_ids: ['42'], skus: [a-1], days_per_unit: 30}]",
        ),
        key(
            "wecom_tags",
            Holds::List(&Holds::Keys(&WECOM_TAG), 0),
            "Tags of WeCom.",
            "[{native_id: etXYZ, tag: 商机/考虑价格}]",
        ),
        key(
            "contents",
            Holds::List(&Holds::Keys(&BODY), 0),
            "What is sent of each content.",
            "[{content: 报价案例, text: '{昵称}您好', media: [media/case-1.png]}]",
        ),
    ],
};

pub(crate) static STAFF: Keys = Keys {
    name: "member of staff",
    about: "Who contacts are given to.",
    count: Count::Any,
    keys: &[
        key("staff", Holds::Id, "The native id of the member.", "li").required(),
        key("name", Holds::Text, "For whoever reads the file.", "李"),
        key("pools", TEXTS, "The pools the member is in.", "[sales, dcc]"),
        key("store", Holds::Text, "The store the member works in.", "s1"),
        key("active", Holds::Flag, "Whether contacts are given to the member.", "false").default("true"),
    ],
};

pub(crate) static BODY: Keys = Keys {
    name: "body of a content",
    about: "What is sent of a content: a text, media, or both; with neither there is no body any more.",
    count: Count::Any,
    keys: &[
        key("content", Holds::Id, "The content, as steps name it.", "报价案例").required(),
        key("text", Holds::Text, "The text, a variable in braces; at most 4 000 characters.", "'{昵称}您好'"),
        key(
            "media",
            TEXTS,
            "Media in the order of sending, as whoever sends knows them; at most 9.",
            "[media/case-1.png]",
        ),
    ],
};

pub(crate) static STORE: Keys = Keys {
    name: "store",
    about: "A store.",
    count: Count::Any,
    keys: &[
        key("store", Holds::Id, "Its id, as events name it.", "s1").required(),
        key("name", Holds::Text, "What people read.", "杭州店"),
    ],
};

pub(crate) static GROUP: Keys = Keys {
    name: "group",
    about: "A group of customers.",
    count: Count::Any,
    keys: &[
        key("group", Holds::Id, "Its native id.", "wrABC").required(),
        key("name", Holds::Text, "A name for `in_group(…)`.", "复利闪购群"),
        key("kind", Holds::Text, "A kind for `in_group(kind=…)` and `group_kind`.", "妈妈群"),
    ],
};

pub(crate) static PRODUCT: Keys = Keys {
    name: "product",
    about: "A product, whatever the channels call it.",
    count: Count::Any,
    keys: &[
        key("product", Holds::Id, "Its id, as playbooks name it.", "A").required(),
        key("name", Holds::Text, "For whoever reads the file.", "辅食"),
        key("item_ids", TEXTS, "The channels' item ids.", "['42']"),
        key("skus", TEXTS, "The merchant's own codes, or the channels' sku ids.", "[a-1]"),
        key("days_per_unit", Holds::Number, "How many days one lasts.", "0.5"),
    ],
};

pub(crate) static WECOM_TAG: Keys = Keys {
    name: "WeCom tag",
    about: "Which tag a tag of WeCom is.",
    count: Count::Any,
    keys: &[
        key("native_id", Holds::Id, "WeCom's id.", "etXYZ").required(),
        key("tag", Holds::Tag, "The tag; without it the id is that of none.", "商机/考虑价格"),
    ],
};
