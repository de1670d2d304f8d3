package touchline.reference;

import com.google.protobuf.CodedInputStream;
import com.google.protobuf.WireFormat;
import java.io.IOException;

/**
 * What the job needs of a {@code touchline.v1.LogRecord}, read straight from its bytes: no object is made for the
 * rest. Field numbers: {@code proto/touchline/v1/record.proto}, {@code event.proto}, {@code body.proto}.
 */
final class EventView {
    /** What happened, as far as the job cares. */
    enum Kind {
        /** A message of the customer. */
        MESSAGE_IN,
        /** {@code page.viewed}. */
        VIEW,
        /** {@code order.paid}. */
        PAID,
        /** Any other event. */
        OTHER,
        /** A tick, a command or loopback. */
        NO_EVENT
    }

    private static final int LOG_RECORD_EVENT = 1;
    private static final int EVENT_ID = 1;
    private static final int EVENT_OCCURRED_AT = 5;
    private static final int EVENT_PRIVATE = 12;
    private static final int EVENT_CHAT_MESSAGE = 20;
    private static final int EVENT_PAGE_VIEWED = 28;
    private static final int EVENT_ORDER_PAID = 33;
    private static final int CHAT_DIRECTION = 2;
    private static final int PRIVATE_PLAIN = 1;
    private static final int PLAIN_FIELDS = 1;
    private static final int FIELD_NAME = 1;
    private static final int FIELD_VALUE = 2;
    private static final int VALUE_TEXT = 1;

    Kind kind = Kind.NO_EVENT;
    byte[] id = {};
    /** The source's clock in milliseconds; {@link Long#MAX_VALUE} when absent. */
    long occurredAtMs = Long.MAX_VALUE;
    private byte[] bytes;
    private int privateFrom;
    private int privateLength;

    /** Reads a record. Throws where the bytes are no protobuf. */
    static EventView parse(byte[] value) throws IOException {
        EventView view = new EventView();
        view.bytes = value;
        CodedInputStream in = CodedInputStream.newInstance(value);
        for (int tag = in.readTag(); tag != 0; tag = in.readTag()) {
            if (WireFormat.getTagFieldNumber(tag) == LOG_RECORD_EVENT) {
                int outer = in.pushLimit(in.readRawVarint32());
                view.kind = Kind.OTHER;
                view.readEvent(in);
                in.popLimit(outer);
            } else {
                in.skipField(tag);
            }
        }
        return view;
    }

    /** The message text; null where there is none or it cannot be read. */
    String text() throws IOException {
        CodedInputStream in = CodedInputStream.newInstance(bytes, privateFrom, privateLength);
        for (int tag = in.readTag(); tag != 0; tag = in.readTag()) {
            if (WireFormat.getTagFieldNumber(tag) != PRIVATE_PLAIN) {
                in.skipField(tag);
                continue;
            }
            int outer = in.pushLimit(in.readRawVarint32());
            for (int inner = in.readTag(); inner != 0; inner = in.readTag()) {
                if (WireFormat.getTagFieldNumber(inner) != PLAIN_FIELDS) {
                    in.skipField(inner);
                    continue;
                }
                String text = textOfField(in);
                if (text != null) {
                    return text;
                }
            }
            in.popLimit(outer);
        }
        return null;
    }

    private void readEvent(CodedInputStream in) throws IOException {
        for (int tag = in.readTag(); tag != 0; tag = in.readTag()) {
            switch (WireFormat.getTagFieldNumber(tag)) {
                case EVENT_ID -> id = in.readByteArray();
                case EVENT_OCCURRED_AT -> occurredAtMs = in.readInt64();
                case EVENT_PRIVATE -> {
                    privateLength = in.readRawVarint32();
                    privateFrom = in.getTotalBytesRead();
                    in.skipRawBytes(privateLength);
                }
                case EVENT_CHAT_MESSAGE -> {
                    int outer = in.pushLimit(in.readRawVarint32());
                    readChat(in);
                    in.popLimit(outer);
                }
                case EVENT_PAGE_VIEWED -> {
                    kind = Kind.VIEW;
                    in.skipField(tag);
                }
                case EVENT_ORDER_PAID -> {
                    kind = Kind.PAID;
                    in.skipField(tag);
                }
                default -> in.skipField(tag);
            }
        }
    }

    private void readChat(CodedInputStream in) throws IOException {
        for (int tag = in.readTag(); tag != 0; tag = in.readTag()) {
            if (WireFormat.getTagFieldNumber(tag) == CHAT_DIRECTION) {
                kind = in.readString().equals("in") ? Kind.MESSAGE_IN : Kind.OTHER;
            } else {
                in.skipField(tag);
            }
        }
    }

    private static String textOfField(CodedInputStream in) throws IOException {
        int outer = in.pushLimit(in.readRawVarint32());
        boolean isText = false;
        String text = null;
        for (int tag = in.readTag(); tag != 0; tag = in.readTag()) {
            switch (WireFormat.getTagFieldNumber(tag)) {
                case FIELD_NAME -> isText = in.readString().equals("text");
                case FIELD_VALUE -> {
                    int value = in.pushLimit(in.readRawVarint32());
                    for (int inner = in.readTag(); inner != 0; inner = in.readTag()) {
                        if (isText && WireFormat.getTagFieldNumber(inner) == VALUE_TEXT) {
                            text = in.readString();
                        } else {
                            in.skipField(inner);
                        }
                    }
                    in.popLimit(value);
                }
                default -> in.skipField(tag);
            }
        }
        in.popLimit(outer);
        return text;
    }
}
