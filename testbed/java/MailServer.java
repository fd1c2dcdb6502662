import java.io.BufferedReader;
import java.io.ByteArrayInputStream;
import java.io.IOException;
import java.io.InputStream;
import java.io.InputStreamReader;
import java.net.InetAddress;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.KeyFactory;
import java.security.KeyStore;
import java.security.cert.Certificate;
import java.security.cert.CertificateFactory;
import java.security.spec.PKCS8EncodedKeySpec;
import java.util.ArrayList;
import java.util.Base64;
import java.util.Collections;
import java.util.List;
import javax.net.ssl.KeyManagerFactory;
import javax.net.ssl.SSLContext;
import org.subethamail.smtp.auth.EasyAuthenticationHandlerFactory;
import org.subethamail.smtp.auth.LoginFailedException;
import org.subethamail.smtp.helper.SimpleMessageListener;
import org.subethamail.smtp.server.SMTPServer;

/**
 * A mail server that wants a login: prints its port, then answers every line of its input with the mails
 * that it took so far, as a list of {"from", "to", "data" in base64}. Ends with its input.
 */
public final class MailServer {
    /** Arguments: none, starttls or tls; user; password; files of certificate and key, PEM. */
    public static void main(String[] args) throws Exception {
        String mode = args[0];
        String user = args[1];
        String password = args[2];
        List<String> mails = Collections.synchronizedList(new ArrayList<>());
        SMTPServer.Builder server = new SMTPServer.Builder()
            .bindAddress(InetAddress.getByName("127.0.0.1"))
            .port(0)
            .requireAuth(true)
            .authenticationHandlerFactory(new EasyAuthenticationHandlerFactory((name, word, context) -> {
                if (!name.equals(user) || !word.equals(password)) throw new LoginFailedException();
            }))
            .simpleMessageListener(new SimpleMessageListener() {
                @Override
                public boolean accept(String from, String to) {
                    return true;
                }

                /** Is called for each receiver. */
                @Override
                public void deliver(String from, String to, InputStream data) throws IOException {
                    String text = Base64.getEncoder().encodeToString(data.readAllBytes());
                    mails.add("{\"from\":\"" + from + "\",\"to\":\"" + to + "\",\"data\":\"" + text + "\"}");
                }
            });
        if (!mode.equals("none")) {
            SSLContext context = context(Path.of(args[3]), Path.of(args[4]));
            if (mode.equals("tls")) server.serverSocketFactory(context);
            else server.enableTLS(true).requireTLS(true).startTlsSocketFactory(context);
        }
        SMTPServer running = server.build();
        running.start();
        System.out.println(running.getPortAllocated());
        BufferedReader in = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        while (in.readLine() != null) {
            synchronized (mails) {
                System.out.println("[" + String.join(",", mails) + "]");
            }
        }
        System.exit(0);
    }

    private static SSLContext context(Path certificate, Path key) throws Exception {
        Certificate known = CertificateFactory.getInstance("X.509")
            .generateCertificate(new ByteArrayInputStream(Files.readAllBytes(certificate)));
        String lines = Files.readString(key).replaceAll("-----[A-Z ]+-----", "").replaceAll("\\s", "");
        PKCS8EncodedKeySpec secret = new PKCS8EncodedKeySpec(Base64.getDecoder().decode(lines));
        KeyStore store = KeyStore.getInstance("PKCS12");
        store.load(null, null);
        store.setKeyEntry("server", KeyFactory.getInstance("EC").generatePrivate(secret), new char[0],
            new Certificate[] {known});
        KeyManagerFactory managers = KeyManagerFactory.getInstance("SunX509");
        managers.init(store, new char[0]);
        SSLContext context = SSLContext.getInstance("TLS");
        context.init(managers.getKeyManagers(), null, null);
        return context;
    }
}
