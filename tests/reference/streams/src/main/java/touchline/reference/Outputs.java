package touchline.reference;

import com.google.protobuf.CodedOutputStream;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.io.UncheckedIOException;

/**
 * Output records as {@code touchline.v1.TagChange} and {@code touchline.v1.Touch}, with the fields that this job
 * knows. Field numbers: {@code proto/touchline/v1/output.proto}, {@code common.proto}.
 */
final class Outputs {
    private static final String PLAYBOOK = "reference";

    private Outputs() {}

    /** Where the record lies that led to an output. */
    record Source(int partition, long offset) {}

    /** Tag {@code group/tag} of a contact was set. */
    static byte[] tagChange(String contact, String group, String tag, long clockMs, long atMs, Source source,
            byte[] eventId) {
        return message(out -> {
            out.writeUInt64(2, clockMs);
            writePosition(out, 3, source);
            out.writeString(4, contact);
            out.writeString(6, group);
            out.writeString(7, tag);
            out.writeInt64(10, atMs);
            out.writeByteArray(11, message(cause -> {
                writePosition(cause, 1, source);
                cause.writeByteArray(3, eventId);
                cause.writeString(5, PLAYBOOK);
                cause.writeString(6, "rules/" + tag);
            }));
        });
    }

    /** Touch number {@code step} of a contact is {@code due} or {@code cancelled}. */
    static byte[] touch(String contact, int step, String state, long clockMs, long dueMs) {
        return message(out -> {
            out.writeInt64(2, clockMs);
            out.writeString(4, contact + "/" + PLAYBOOK + "/1/p" + step + "#1");
            out.writeString(5, state);
            out.writeString(7, contact);
            out.writeString(10, PLAYBOOK);
            out.writeUInt32(12, 1);
            out.writeString(13, "p" + step);
            out.writeUInt32(14, 1);
            out.writeString(15, "dm");
            out.writeInt64(18, dueMs);
            out.writeInt64(19, dueMs);
        });
    }

    private static void writePosition(CodedOutputStream out, int field, Source source) throws IOException {
        out.writeByteArray(field, message(position -> {
            position.writeUInt32(1, source.partition());
            position.writeUInt64(2, source.offset());
        }));
    }

    private interface Writer {
        void write(CodedOutputStream out) throws IOException;
    }

    private static byte[] message(Writer writer) {
        try {
            ByteArrayOutputStream bytes = new ByteArrayOutputStream(160);
            CodedOutputStream out = CodedOutputStream.newInstance(bytes, 160);
            writer.write(out);
            out.flush();
            return bytes.toByteArray();
        } catch (IOException error) {
            throw new UncheckedIOException("a byte array takes everything", error);
        }
    }
}
