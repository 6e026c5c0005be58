//! User agents as browsers, programs and bots send them.

/// Class, system, browser and user agent of visitors.
pub(super) const VISITORS: &[(&str, &str, &str, &str)] = &[
    (
        "desktop",
        "Windows",
        "Chrome",
        "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) \
         Chrome/141.0.0.0 Safari/537.36",
    ),
    (
        "desktop",
        "Windows",
        "Edge",
        "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) \
         Chrome/141.0.0.0 Safari/537.36 Edg/141.0.0.0",
    ),
    (
        "desktop",
        "Windows",
        "Firefox",
        "Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:143.0) Gecko/20100101 Firefox/143.0",
    ),
    (
        "desktop",
        "Windows",
        "IE",
        "Mozilla/4.0 (compatible; MSIE 8.0; Windows NT 6.1; Trident/4.0; Tablet PC 2.0)",
    ),
    (
        "desktop",
        "Mac OS X",
        "Safari",
        "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) \
         Version/18.6 Safari/605.1.15",
    ),
    (
        "desktop",
        "Mac OS X",
        "Opera",
        "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/537.36 (KHTML, like Gecko) \
         Chrome/138.0.0.0 Safari/537.36 OPR/122.0.0.0",
    ),
    (
        "desktop",
        "Linux",
        "Firefox",
        "Mozilla/5.0 (X11; Linux x86_64; rv:143.0) Gecko/20100101 Firefox/143.0",
    ),
    (
        "desktop",
        "Ubuntu",
        "Firefox",
        "Mozilla/5.0 (X11; Ubuntu; Linux x86_64; rv:143.0) Gecko/20100101 Firefox/143.0",
    ),
    (
        "desktop",
        "Chrome OS",
        "Chrome",
        "Mozilla/5.0 (X11; CrOS x86_64 14541.0.0) AppleWebKit/537.36 (KHTML, like Gecko) \
         Chrome/141.0.0.0 Safari/537.36",
    ),
    (
        "desktop",
        "Linux",
        "HeadlessChrome",
        "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) \
         HeadlessChrome/141.0.0.0 Safari/537.36",
    ),
    (
        "mobile",
        "iOS",
        "Mobile Safari",
        "Mozilla/5.0 (iPhone; CPU iPhone OS 18_6 like Mac OS X) AppleWebKit/605.1.15 \
         (KHTML, like Gecko) Version/18.6 Mobile/15E148 Safari/604.1",
    ),
    (
        "mobile",
        "iOS",
        "Chrome Mobile iOS",
        "Mozilla/5.0 (iPhone; CPU iPhone OS 18_6 like Mac OS X) AppleWebKit/605.1.15 \
         (KHTML, like Gecko) CriOS/141.0.7390.26 Mobile/15E148 Safari/604.1",
    ),
    (
        "mobile",
        "iOS",
        "Instagram",
        "Mozilla/5.0 (iPhone; CPU iPhone OS 18_6 like Mac OS X) AppleWebKit/605.1.15 \
         (KHTML, like Gecko) Mobile/15E148 Instagram 400.0.0.25.97 (iPhone14,5; iOS 18_6; en_US)",
    ),
    (
        "mobile",
        "Android",
        "Chrome Mobile",
        "Mozilla/5.0 (Linux; Android 10; K) AppleWebKit/537.36 (KHTML, like Gecko) \
         Chrome/141.0.0.0 Mobile Safari/537.36",
    ),
    (
        "mobile",
        "Android",
        "Samsung Internet",
        "Mozilla/5.0 (Linux; Android 10; K) AppleWebKit/537.36 (KHTML, like Gecko) \
         SamsungBrowser/28.0 Chrome/130.0.0.0 Mobile Safari/537.36",
    ),
    (
        "mobile",
        "Android",
        "Firefox Mobile",
        "Mozilla/5.0 (Android 15; Mobile; rv:143.0) Gecko/143.0 Firefox/143.0",
    ),
    (
        "mobile",
        "Android",
        "Facebook",
        "Mozilla/5.0 (Linux; Android 14; SM-S911B Build/UP1A.231005.007; wv) AppleWebKit/537.36 \
         (KHTML, like Gecko) Version/4.0 Chrome/140.0.7339.51 Mobile Safari/537.36 \
         [FB_IAB/FB4A;FBAV/530.0.0.48.74;]",
    ),
    (
        "mobile",
        "Android",
        "Android",
        "Dalvik/2.1.0 (Linux; U; Android 13; SM-G991B Build/TP1A.220624.014)",
    ),
    (
        "mobile",
        "Windows Phone",
        "Edge Mobile",
        "Mozilla/5.0 (Windows Phone 10.0; Android 6.0.1; Microsoft; Lumia 950) AppleWebKit/537.36 \
         (KHTML, like Gecko) Chrome/52.0.2743.116 Mobile Safari/537.36 Edge/15.15063",
    ),
    (
        "mobile",
        "KaiOS",
        "Firefox Mobile",
        "Mozilla/5.0 (Mobile; Nokia_8110_4G; rv:48.0) Gecko/48.0 Firefox/48.0 KAIOS/2.5",
    ),
    (
        "tablet",
        "iOS",
        "Mobile Safari",
        "Mozilla/5.0 (iPad; CPU OS 17_6 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) \
         Version/17.6 Mobile/15E148 Safari/604.1",
    ),
    (
        "tablet",
        "iOS",
        "Chrome Mobile iOS",
        "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 \
         (KHTML, like Gecko) CriOS/141 Version/11.1.1 Safari/605.1.15",
    ),
    (
        "tablet",
        "Android",
        "Chrome",
        "Mozilla/5.0 (Linux; Android 10; K) AppleWebKit/537.36 (KHTML, like Gecko) \
         Chrome/141.0.0.0 Safari/537.36",
    ),
    (
        "tablet",
        "Android",
        "Firefox Mobile",
        "Mozilla/5.0 (Android 15; Tablet; rv:143.0) Gecko/143.0 Firefox/143.0",
    ),
    (
        "tablet",
        "Android",
        "Amazon Silk",
        "Mozilla/5.0 (Linux; Android 11; KFTRWI) AppleWebKit/537.36 (KHTML, like Gecko) \
         Silk/140.4.1 like Chrome/140.0.7339.207 Safari/537.36",
    ),
    (
        "tablet",
        "Linux",
        "Amazon Silk",
        "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) \
         Silk/140.4.1 like Chrome/140.0.7339.207 Safari/537.36",
    ),
    (
        "tv",
        "Tizen",
        "Samsung Internet",
        "Mozilla/5.0 (SMART-TV; LINUX; Tizen 7.0) AppleWebKit/537.36 (KHTML, like Gecko) \
         SamsungBrowser/6.0 Chrome/94.0.4606.31 TV Safari/537.36",
    ),
    (
        "tv",
        "Web0S",
        "Chrome",
        "Mozilla/5.0 (Web0S; Linux/SmartTV) AppleWebKit/537.36 (KHTML, like Gecko) \
         Chrome/108.0.5359.211 Safari/537.36 WebAppManager",
    ),
    (
        "tv",
        "Android",
        "Amazon Silk",
        "Mozilla/5.0 (Linux; Android 9; AFTMM Build/PS7704) AppleWebKit/537.36 \
         (KHTML, like Gecko) Silk/140.4.1 like Chrome/140.0.7339.207 Safari/537.36",
    ),
    (
        "tv",
        "Chromecast Android",
        "Chrome",
        "Mozilla/5.0 (Linux; Android 12.0; Build/STTL.240206.002) AppleWebKit/537.36 \
         (KHTML, like Gecko) Chrome/92.0.4515.0 Safari/537.36 CrKey/1.56.500000 \
         DeviceType/AndroidTV",
    ),
    ("tv", "Roku", "Roku", "Roku/DVP-9.10 (519.10E04111A)"),
    (
        "console",
        "",
        "Safari",
        "Mozilla/5.0 (PlayStation; PlayStation 5/9.00) AppleWebKit/605.1.15 (KHTML, like Gecko) \
         Version/16.4 Safari/605.1.15",
    ),
    (
        "console",
        "Windows",
        "Edge",
        "Mozilla/5.0 (Windows NT 10.0; Win64; x64; Xbox; Xbox One) AppleWebKit/537.36 \
         (KHTML, like Gecko) Chrome/88.0.4324.150 Safari/537.36 Edge/44.18363.8131",
    ),
    (
        "console",
        "",
        "",
        "Mozilla/5.0 (Nintendo Switch; WebApplet) AppleWebKit/613.0 (KHTML, like Gecko) \
         NF/6.0.3.25.0 NintendoBrowser/5.1.0.32061",
    ),
    (
        "wearable",
        "Android",
        "Oculus Browser",
        "Mozilla/5.0 (X11; Linux x86_64; Quest 3) AppleWebKit/537.36 (KHTML, like Gecko) \
         OculusBrowser/40.1.0.0.47 SamsungBrowser/4.0 Chrome/136.0.7103.177 VR Safari/537.36",
    ),
    (
        "wearable",
        "WatchOS",
        "Apple Watch App",
        "atc/1.0 watchOS/10.2 model/Watch6,2 hwp/t8301 build/21S364",
    ),
    ("other", "", "curl", "curl/8.5.0"),
    ("other", "Linux", "Wget", "Wget/1.21.4 (linux-gnu)"),
    ("other", "", "Python Requests", "python-requests/2.32.3"),
    ("other", "", "", "?"),
];

/// Bots, on devices of all kinds.
pub(super) const BOTS: &[&str] = &[
    "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)",
    "Mozilla/5.0 (Linux; Android 6.0.1; Nexus 5X Build/MMB29P) AppleWebKit/537.36 \
     (KHTML, like Gecko) Chrome/141.0.0.0 Mobile Safari/537.36 \
     (compatible; Googlebot/2.1; +http://www.google.com/bot.html)",
    "GoogleOther",
    "Mozilla/5.0 AppleWebKit/537.36 (KHTML, like Gecko; compatible; bingbot/2.0; \
     +http://www.bing.com/bingbot.htm) Chrome/116.0.1938.76 Safari/537.36",
    "Mozilla/5.0 (compatible; YandexMetrika/2.0; +http://yandex.com/bots)",
    "Mozilla/5.0 (compatible; Baiduspider/2.0; +http://www.baidu.com/search/spider.html)",
    "Mozilla/5.0 (compatible; Yahoo! Slurp; http://help.yahoo.com/help/us/ysearch/slurp)",
    "Mozilla/5.0 AppleWebKit/537.36 (KHTML, like Gecko); compatible; ChatGPT-User/1.0; \
     +https://openai.com/bot",
    "Mozilla/5.0 AppleWebKit/537.36 (KHTML, like Gecko; compatible; ClaudeBot/1.0)",
    "meta-externalagent/1.1 (+https://developers.facebook.com/docs/sharing/webmasters/crawler)",
    "facebookexternalhit/1.1",
    "WhatsApp/2.23.20.0",
    "TelegramBot (like TwitterBot)",
    "Slack-ImgProxy (+https://api.slack.com/robots)",
    "Mozilla/5.0 (Windows NT 6.1; WOW64) SkypeUriPreview Preview/0.5",
    "http.rb/5.1.1 (Mastodon/4.2.1; +https://mastodon.example/)",
    "Pingdom.com_bot_version_1.4_(http://www.pingdom.com/)",
    "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 Chrome/141.0 Safari/537.36 PTST/250101",
    "kube-probe/1.29",
    "Feedly/1.0 (+http://www.feedly.com/fetcher.html; 16 subscribers)",
    "Screaming Frog SEO Spider/20.0",
    "Scrapy/2.11.2 (+https://scrapy.org)",
    "Xenu Link Sleuth/1.3.8",
    "An unheard-of fetcher (+https://example.org/about)",
];

/// Those that look like bots to one list or another.
pub(super) const NO_BOTS: &[&str] = &[
    "",
    "Bottle/1.0",
    "curl/8.5.0",
    "Wget/1.21.4",
    "okhttp/4.12.0",
    "python-requests/2.32.3",
    "Python-urllib/3.12",
    "Python/3.12 aiohttp/3.9.5",
    "python-httpx/0.27.0",
    "Go-http-client/2.0",
    "Java/17.0.10",
    "Apache-HttpClient/4.5.14 (Java/17.0.10)",
    "Google-HTTP-Java-Client/1.43.3 (gzip)",
    "Mozilla/4.0 (compatible; Win32; WinHttp.WinHttpRequest.5)",
    "axios/1.7.2",
    "node-fetch/1.0 (+https://github.com/bitinn/node-fetch)",
    "undici",
    "PostmanRuntime/7.39.0",
    "libwww-perl/6.77",
    "Mozilla/5.0 (Linux; Android 10; CUBOT X30) AppleWebKit/537.36 Chrome/130 Mobile Safari/537.36",
    "Mozilla/5.0 (Linux; Android 9; CUBOT_P30 Build/PPR1) AppleWebKit/537.36 Chrome/130 Safari/537",
    "CUBOT X30",
];
