package touchline.reference;

import java.util.Map;
import org.apache.kafka.streams.state.RocksDBConfigSetter;
import org.rocksdb.BlockBasedTableConfig;
import org.rocksdb.BloomFilter;
import org.rocksdb.Cache;
import org.rocksdb.InfoLogLevel;
import org.rocksdb.LRUCache;
import org.rocksdb.Options;
import org.rocksdb.RocksDB;
import org.rocksdb.WriteBufferManager;

/** One block cache for all stores of the process, memtables charged to it; else as Kafka's memory guide says. */
public final class BoundedMemory implements RocksDBConfigSetter {
    /** Configuration key: megabytes of all stores together. */
    static final String ROCKS_MB = "touchline.rocks.mb";

    private static final long MEMTABLE_BYTES = 16L << 20;
    private static final int BLOCK_BYTES = 16 << 10;
    private static final int FILTER_BITS = 10;

    private static Cache cache;
    private static WriteBufferManager buffers;

    static {
        RocksDB.loadLibrary();
    }

    @Override
    public void setConfig(String store, Options options, Map<String, Object> configs) {
        long bytes = Long.parseLong(configs.get(ROCKS_MB).toString()) << 20;
        share(bytes);
        BlockBasedTableConfig table = (BlockBasedTableConfig) options.tableFormatConfig();
        table.setBlockCache(cache);
        table.setCacheIndexAndFilterBlocks(true);
        table.setCacheIndexAndFilterBlocksWithHighPriority(true);
        table.setPinTopLevelIndexAndFilter(true);
        table.setBlockSize(BLOCK_BYTES);
        table.setFilterPolicy(new BloomFilter(FILTER_BITS, false));
        options.setTableFormatConfig(table);
        options.setWriteBufferManager(buffers);
        options.setWriteBufferSize(MEMTABLE_BYTES);
        options.setMaxWriteBufferNumber(4);
        options.setInfoLogLevel(InfoLogLevel.ERROR_LEVEL);
    }

    @Override
    public void close(String store, Options options) {
        // Cache and buffer manager are shared by all stores and live as long as the process.
    }

    private static synchronized void share(long bytes) {
        if (cache == null) {
            cache = new LRUCache(bytes, -1, false, 0.1);
            buffers = new WriteBufferManager(bytes / 2, cache);
        }
    }
}
