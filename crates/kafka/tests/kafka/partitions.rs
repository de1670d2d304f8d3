//! Records lie in the partitions where the Java client's default partitioner puts them.

use touchline_model::id::{murmur2, partition_of};

/// Key, `Utils.murmur2(bytes)`, and `BuiltInPartitioner.partitionForKey(bytes, n)` for 24 and 7 partitions: printed by
/// `org.apache.kafka:kafka-clients:4.3.0` on Java 17 for the UTF-8 bytes of the key.
const JAVA: [(&str, i32, u32, u32); 12] = [
    ("", 275_646_681, 9, 2),
    ("a", -1_563_381_124, 4, 5),
    ("ab", 316_155_434, 2, 0),
    ("abc", 479_470_107, 3, 4),
    ("abcd", -1_323_649_548, 20, 5),
    ("abcde", 461_995_741, 13, 4),
    ("acme/wecom_external_userid/wwcorp/wmXYZ", 693_732_104, 8, 2),
    ("acme/order/youzan:kdt123/E2026", 1_552_847_406, 6, 5),
    ("acme/group/wwcorp/wrABC", -822_291_007, 1, 3),
    ("acme/phone_ref/acme/%E4%B8%AD", -1_091_213_863, 1, 4),
    ("标签", -1_155_397_992, 8, 2),
    ("acme/yz_open_id/youzan/0123456789abcdef", -1_067_566_194, 14, 0),
];

#[test]
fn keys_go_where_the_java_client_sends_them() {
    for (key, hash, of_24, of_7) in JAVA {
        let key = key.as_bytes();
        assert_eq!(murmur2(key).cast_signed(), hash, "{key:?}");
        assert_eq!((partition_of(key, 24), partition_of(key, 7)), (of_24, of_7), "{key:?}");
    }
}
