import com.alibaba.fastjson2.JSON;
import com.alibaba.fastjson2.JSONWriter;
import com.alibaba.otter.canal.protocol.FlatMessage;
import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.io.PrintWriter;
import java.io.StringWriter;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Base64;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import org.apache.flink.api.common.serialization.DeserializationSchema;
import org.apache.flink.formats.common.TimestampFormat;
import org.apache.flink.formats.json.canal.CanalJsonDeserializationSchema;
import org.apache.flink.formats.json.debezium.DebeziumJsonDeserializationSchema;
import org.apache.flink.metrics.MetricGroup;
import org.apache.flink.metrics.groups.UnregisteredMetricsGroup;
import org.apache.flink.table.api.DataTypes;
import org.apache.flink.table.data.RowData;
import org.apache.flink.table.runtime.typeutils.InternalTypeInfo;
import org.apache.flink.table.types.DataType;
import org.apache.flink.util.Collector;
import org.apache.flink.util.SimpleUserCodeClassLoader;
import org.apache.flink.util.UserCodeClassLoader;

/**
 * What Canal's client library and Flink make of a record: base64 values in, one JSON line each out.
 * Arguments: `canal`, or `canal-json` or `debezium-json` and the names of the columns, all STRING.
 */
public final class FormatReader {
    private interface Read {
        Object read(byte[] bytes) throws Exception;
    }

    public static void main(String[] args) throws Exception {
        PrintStream out = new PrintStream(System.out, false, StandardCharsets.UTF_8);
        // What the libraries print must not mix with the answers.
        System.setOut(System.err);
        List<String> columns = Arrays.asList(args).subList(1, args.length);
        Read read = args[0].equals("canal") ? FormatReader::canal : flink(args[0], columns);
        BufferedReader in = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        for (String line = in.readLine(); line != null; line = in.readLine()) {
            Map<String, Object> seen = new LinkedHashMap<>();
            try {
                seen.put("seen", read.read(Base64.getDecoder().decode(line)));
            } catch (Throwable failed) {
                StringWriter trace = new StringWriter();
                failed.printStackTrace(new PrintWriter(trace));
                seen.put("exception", trace.toString());
            }
            out.println(JSON.toJSONString(seen, JSONWriter.Feature.WriteMapNullValue));
            out.flush();
        }
    }

    /** As Canal's own consumers of Kafka read a flat message. */
    private static Object canal(byte[] bytes) {
        FlatMessage message = JSON.parseObject(new String(bytes, StandardCharsets.UTF_8), FlatMessage.class);
        Map<String, Object> seen = new TreeMap<>();
        seen.put("id", message.getId());
        seen.put("database", message.getDatabase());
        seen.put("table", message.getTable());
        seen.put("pkNames", message.getPkNames());
        seen.put("isDdl", message.getIsDdl());
        seen.put("type", message.getType());
        seen.put("es", message.getEs());
        seen.put("ts", message.getTs());
        seen.put("sql", message.getSql());
        seen.put("sqlType", message.getSqlType());
        seen.put("mysqlType", message.getMysqlType());
        seen.put("data", message.getData());
        seen.put("old", message.getOld());
        seen.put("gtid", message.getGtid());
        return seen;
    }

    private static Read flink(String format, List<String> columns) throws Exception {
        DataTypes.Field[] fields = columns.stream()
            .map(name -> DataTypes.FIELD(name, DataTypes.STRING())).toArray(DataTypes.Field[]::new);
        DataType type = DataTypes.ROW(fields);
        InternalTypeInfo<RowData> produced = InternalTypeInfo.of(type.getLogicalType());
        DeserializationSchema<RowData> schema = format.equals("canal-json")
            ? CanalJsonDeserializationSchema.builder(type, List.of(), produced).build()
            : new DebeziumJsonDeserializationSchema(
                type, List.of(), produced, false, false, TimestampFormat.ISO_8601);
        schema.open(new DeserializationSchema.InitializationContext() {
            @Override
            public MetricGroup getMetricGroup() {
                return new UnregisteredMetricsGroup();
            }

            @Override
            public UserCodeClassLoader getUserCodeClassLoader() {
                return SimpleUserCodeClassLoader.create(FormatReader.class.getClassLoader());
            }
        });
        return bytes -> {
            List<Object> rows = new ArrayList<>();
            schema.deserialize(bytes, new Collector<>() {
                @Override
                public void collect(RowData row) {
                    Map<String, Object> values = new LinkedHashMap<>();
                    for (int i = 0; i < columns.size(); i++) {
                        values.put(columns.get(i), row.isNullAt(i) ? null : row.getString(i).toString());
                    }
                    rows.add(Map.of("kind", row.getRowKind().shortString(), "row", values));
                }

                @Override
                public void close() {
                }
            });
            return rows;
        };
    }
}
