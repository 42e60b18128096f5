"""A test set for personal data, drawn from a seed: values of every kind, plain and disguised, and others' numbers.

It knows nothing of the detector: values are made by the rules of those who issue them.
"""
import random
import string
import uuid

LETTERS, LOWER, DIGITS = string.ascii_uppercase, string.ascii_lowercase, string.digits
AREAS = ('110101 120103 130102 140105 210202 220102 230103 310104 320106 330108 340111 350203 360102 370202 410105 '
         '420106 430102 440305 450103 460105 500112 510107 520103 530102 610113 620102 630104 640104 650102'.split())


def digits(r: random.Random, n: int) -> str: return ''.join(r.choices(DIGITS, k=n))
def some(r: random.Random, alphabet: str, n: int) -> str: return ''.join(r.choices(alphabet, k=n))


def luhn_digit(body: str) -> str:
    total = 0
    for i, c in enumerate(reversed(body)):
        n = int(c)*(2 if i % 2 == 0 else 1)
        total += n - 9 if n > 9 else n
    return str(-total % 10)


def card(r: random.Random) -> str:
    prefix, n = r.choice((('4', 16), ('4', 16), ('51', 16), ('55', 16), ('2221', 16), ('34', 15), ('37', 15),
                          ('6222', 19), ('6217', 19), ('6228', 19), ('625', 16), ('6011', 16), ('3530', 16),
                          ('36', 14), ('4', 13)))
    body = prefix + digits(r, n - len(prefix) - 1)
    return body + luhn_digit(body)


def cn_id(r: random.Random) -> str:
    body = f'{r.choice(AREAS)}{r.randint(1940, 2015)}{r.randint(1, 12):02}{r.randint(1, 28):02}{digits(r, 3)}'
    check = (
        '10X98765432'[sum(int(c)*w for c, w in zip(body, (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2))) % 11])
    return body + (check.lower() if r.random() < .5 else check)


def cn_id15(r: random.Random) -> str:
    return f'{r.choice(AREAS)}{r.randint(40, 99)}{r.randint(1, 12):02}{r.randint(1, 28):02}{digits(r, 3)}'


def company(r: random.Random) -> str:
    chars = '0123456789ABCDEFGHJKLMNPQRTUWXY'
    body = r.choice(('91', '92', '12', '52')) + r.choice(AREAS) + some(r, chars, 9)
    return body + chars[(31 - sum(chars.index(c)*pow(3, i, 31) for i, c in enumerate(body)) % 31) % 31]


def mobile(r: random.Random) -> str: return '1' + r.choice('3456789') + digits(r, 9)


def phone(r: random.Random) -> str:
    m = mobile(r)
    d = lambda n: r.choice('23456789') + digits(r, n - 1)  # noqa: E731
    return r.choice((
        m, m, m, f'+86{m}', f'+86 {m[:3]} {m[3:7]} {m[7:]}', f'+86-{m}', f'86-{m}', f'0086{m}',
        f'{m[:3]}-{m[3:7]}-{m[7:]}', f'{m[:3]} {m[3:7]} {m[7:]}',
        f'010-{d(8)}', f'0{r.choice(("755", "571", "731", "451"))}-{d(8)}', f'021{d(8)}',
        f'(0{r.choice(("20", "28", "755"))}){d(8)}', f'0531-{d(7)}', f'010-{d(8)}-{d(3)}',
        f'+1 {d(3)}-{d(3)}-{digits(r, 4)}', f'({d(3)}) {d(3)}-{digits(r, 4)}', f'{d(3)}-{d(3)}-{digits(r, 4)}',
        f'+1{d(3)}{d(3)}{digits(r, 4)}', f'{d(3)}.{d(3)}.{digits(r, 4)}', f'1-{d(3)}-{d(3)}-{digits(r, 4)}',
        f'+44 20 {d(4)} {digits(r, 4)}', f'+44 7{digits(r, 3)} {digits(r, 6)}', f'020 7{digits(r, 3)} {digits(r, 4)}',
        f'07{digits(r, 3)} {digits(r, 6)}', f'+49 30 {d(8)}', f'+49 (0)89 {d(7)}', f'0{d(2)} {d(7)}',
        f'+33 6 {digits(r, 2)} {digits(r, 2)} {digits(r, 2)} {digits(r, 2)}',
        f'06 {digits(r, 2)} {digits(r, 2)} {digits(r, 2)} {digits(r, 2)}',
        f'+34 6{digits(r, 2)} {digits(r, 3)} {digits(r, 3)}', f'+39 06 {d(4)} {digits(r, 4)}',
        f'+81 90-{d(4)}-{digits(r, 4)}', f'090-{d(4)}-{digits(r, 4)}', f'+82 10-{d(4)}-{digits(r, 4)}',
        f'010-{d(4)}-{digits(r, 4)}', f'+7 9{digits(r, 2)} {digits(r, 3)}-{digits(r, 2)}-{digits(r, 2)}',
        f'+91 9{digits(r, 4)} {digits(r, 5)}',
        f'+55 11 9{digits(r, 4)}-{digits(r, 4)}', f'+852 {d(4)} {digits(r, 4)}',
        f'+61 4{digits(r, 2)} {digits(r, 3)} {digits(r, 3)}'))


def email(r: random.Random) -> str:
    name = r.choice((some(r, LOWER, 6), f'{some(r, LOWER, 4)}.{some(r, LOWER, 6)}',
                     f'{some(r, LOWER, 5)}_{digits(r, 3)}', digits(r, 9), f'{some(r, LOWER, 4)}+{some(r, LOWER, 3)}',
                     f'{some(r, LETTERS, 1)}{some(r, LOWER, 5)}-{some(r, LOWER, 3)}'))
    host = r.choice(('qq.com', '163.com', 'gmail.com', 'outlook.com', 'example.org', 'mail.example.co.uk',
                     'sina.com.cn', f'{some(r, LOWER, 7)}.de', f'{some(r, LOWER, 5)}-{some(r, LOWER, 4)}.fr',
                     'foxmail.com', f'{some(r, LOWER, 6)}.edu.cn', f'{some(r, LOWER, 4)}.io'))
    return f'{name}@{host}'


def ip(r: random.Random) -> str:
    if r.random() < .3:
        return (':'.join(f'{r.randrange(1, 65536):x}' for _ in range(8)) if r.random() < .5
                else f'2001:db8:{r.randrange(1, 65536):x}::{r.randrange(1, 65536):x}')
    return '.'.join(str(x) for x in (r.choice([n for n in range(11, 224) if n != 127]), r.randrange(256),
                                     r.randrange(256), r.randrange(1, 255)))


def passport(r: random.Random) -> str:
    return r.choice((f'E{digits(r, 8)}', f'G{digits(r, 8)}', f'E{r.choice("ABCDEFGH")}{digits(r, 7)}'))


def plate(r: random.Random) -> str:
    body = 'ABCDEFGHJKLMNPQRSTUVWXYZ'
    p, c = r.choice('京津沪渝冀豫云辽黑湘皖鲁新苏浙赣鄂桂甘晋蒙陕吉闽贵粤青藏川宁琼'), r.choice('ABCDEFGH')
    return r.choice((f'{p}{c}{digits(r, 5)}', f'{p}{c}{r.choice(body)}{digits(r, 4)}',
                     f'{p}{c}·{digits(r, 3)}{some(r, body, 2)}', f'{p}{c}D{digits(r, 5)}', f'{p}{c}{digits(r, 5)}F',
                     f'{p}{c}{digits(r, 4)}挂', f'{p}{c}{digits(r, 4)}警', f'{p}{c}F{r.choice(body)}{digits(r, 4)}'))


def key(r: random.Random) -> str:
    mix = string.ascii_letters + DIGITS
    return r.choice((
        f'AKIA{some(r, LETTERS + "234567", 16)}', f'ghp_{some(r, mix, 36)}',
        f'github_pat_{some(r, mix, 22)}_{some(r, mix, 59)}', f'sk-{some(r, mix, 48)}', f'sk-proj-{some(r, mix, 40)}',
        f'sk-ant-api03-{some(r, mix, 60)}',
        f'xoxb-{digits(r, 12)}-{digits(r, 12)}-{some(r, mix, 24)}', f'AIza{some(r, mix, 35)}',
        f'glpat-{some(r, mix, 20)}', f'hf_{some(r, mix, 34)}', f'sk_live_{some(r, mix, 24)}', f'LTAI{some(r, mix, 20)}',
        f'eyJhbGciOiJIUzI1NiJ9.eyJ{some(r, mix, 40)}.{some(r, mix, 43)}', '-----BEGIN RSA PRIVATE KEY-----\n'
        + '\n'.join(some(r, mix + '+/', 64) for _ in range(3)) + '\n-----END RSA PRIVATE KEY-----',
        f'npm_{some(r, mix, 36)}'))


def secret(r: random.Random) -> tuple[str, str]:
    "A word that announces, and the secret"
    v = some(r, string.ascii_letters + DIGITS + '+/', 32)
    p = some(r, LOWER, 4) + some(r, LETTERS, 3) + digits(r, 4)
    return r.choice((('api_key=', v), ('API_KEY = "', v + '"'), ("'secret': '", v + "'"), ('access_token: ', v),
                     ('aws_secret_access_key = ', v + v[:8]), ('Authorization: Bearer ', v), ('password: ', p),
                     ('密码：', p), ('密码是', p), ('token=', v), ('client_secret":"', v + '"')))


def address(r: random.Random) -> str:
    n = r.randint(1, 999)
    return r.choice((
        f'北京市朝阳区建国路{n}号', f'广东省深圳市南山区深南大道{n}号{r.randint(1, 30)}栋{r.randint(101, 2900)}室',
        f'上海市浦东新区世纪大道{n}号', f'浙江省杭州市西湖区文三路{n}号{r.randint(1, 9)}单元{r.randint(101, 900)}室',
        f'四川省成都市武侯区人民南路四段{n}号',
        f'湖北省武汉市洪山区珞喻路{n}号', f'江苏省南京市鼓楼区汉口路{n}弄{r.randint(1, 30)}号', f'{n} Main Street',
        f'{n} Oak Avenue, Apt {r.randint(1, 90)}', f'{n} Elm St, Springfield, IL {digits(r, 5)}',
        f'{n} North Maple Road', f'{n} Sunset Boulevard', f'{n} Park Lane',
        f'Hauptstraße {n}', f'Berliner Str. {n}', f'{n} rue de Rivoli, 75001 Paris', f'{n} avenue Victor Hugo',
        f'Calle Mayor {n}', f'Avenida de América {n}, 28002 Madrid', f'Via Garibaldi {n}', f'ул. Ленина, д. {n}',
        f'東京都新宿区西新宿{r.randint(1, 8)}丁目{r.randint(1, 20)}番{r.randint(1, 20)}号',
        f'P.O. Box {n}', f'Rua Augusta, {n}'))


KINDS = dict(phone=phone, email=email, id_card=cn_id, id_card15=cn_id15, bank_card=card, company=company, ip=ip,
             passport=passport, plate=plate, key=key, address=address)

# Where values stand: {} is the value, {w} the word that names it in that language
_zh = ('{w}{}', '{w}：{}', '我的{w}是{}，请记下', '请联系张三，{w}{}谢谢', '【{w}】{}', '客户李四（{w}：{}）已到店',
       '他说{w}为{}。', '问：{w}多少？答：{}', '请把{}发给我', '记录：{}；完毕', '“{}”', '王五{}男', '更新为{}吧')
_en = ('My {w} is {}.', '{w}: {}', 'Please note: {} (thanks)', 'Contact John, {w} {}, today', '"{}"', '<td>{}</td>',
       'It was {} last time', '{w}={}', '- {}\n- next', 'Hi, {} is what I gave them; ok?', '[{}]', '{{"value": "{}"}}',
       '{}', 'He wrote {} on it.')
_more = {'de': ('Meine {w} ist {}.', 'Bitte an {} wenden', '{w}: {}'),
         'fr': ('Mon {w} est {}.', 'Voici : {} merci', '{w} : {}'), 'es': ('Mi {w} es {}.', '¿Es {}? Sí', '{w}: {}'),
         'ru': ('Мой {w}: {}.', 'Вот {} спасибо'), 'ja': ('私の{w}は{}です。', '{w}：{}まで', 'こちら{}になります'),
         'ko': ('제 {w}는 {}입니다', '{w}: {}'), 'ar': ('{w}: {}', 'هذا {} شكرا'), 'hi': ('मेरा {w} {} है', '{w}: {}'),
         'th': ('{w}{}ครับ', '{w}: {}'), 'vi': ('{w} của tôi là {}.',)}
_named = {
    'phone': dict(zh='电话 手机号 手机 联系方式 号码', en='phone|phone number|mobile|tel|number', de='Telefonnummer',
                  fr='téléphone', es='teléfono', ru='телефон', ja='電話番号', ko='전화번호', ar='هاتف', hi='फ़ोन',
                  th='โทร', vi='số điện thoại'),
    'email': dict(zh='邮箱 电子邮件 邮件地址', en='e-mail|email|mail', de='E-Mail', fr='courriel', es='correo',
                  ru='почта', ja='メール', ko='이메일', ar='بريد', hi='ईमेल', th='อีเมล', vi='email'),
    'id_card': dict(zh='身份证 身份证号 证件号码', en='ID|ID card|national id', de='Ausweis', fr="carte d'identité",
                    es='documento', ru='паспорт', ja='身分証', ko='신분증', ar='هوية', hi='पहचान', th='บัตร',
                    vi='căn cước'),
    'bank_card': dict(zh='卡号 银行卡 信用卡', en='card|credit card|card number', de='Kartennummer', fr='carte',
                      es='tarjeta', ru='карта', ja='カード番号', ko='카드', ar='بطاقة', hi='कार्ड', th='บัตร', vi='thẻ'),
    'company': dict(zh='统一社会信用代码 信用代码 税号', en='USCC|company code', de='Code', fr='code', es='código',
                    ru='код', ja='コード', ko='코드', ar='رمز', hi='कोड', th='รหัส', vi='mã'),
    'ip': dict(zh='IP 地址 服务器', en='IP|IP address|host|server', de='Adresse', fr='adresse', es='dirección',
               ru='адрес', ja='アドレス', ko='주소', ar='عنوان', hi='पता', th='ที่อยู่', vi='địa chỉ'),
    'passport': dict(zh='护照 护照号 护照号码', en='passport|passport no.|passport number', de='Reisepass',
                     fr='passeport', es='pasaporte', ru='паспорт', ja='パスポート', ko='여권', ar='جواز', hi='पासपोर्ट',
                     th='หนังสือเดินทาง', vi='hộ chiếu'),
    'plate': dict(zh='车牌 车牌号 车', en='plate|number plate|car', de='Kennzeichen', fr='plaque', es='matrícula',
                  ru='номер', ja='ナンバー', ko='번호판', ar='لوحة', hi='नंबर', th='ทะเบียน', vi='biển số'),
    'key': dict(zh='密钥 令牌 token', en='key|token|API key', de='Schlüssel', fr='clé', es='clave', ru='ключ',
                ja='キー', ko='키', ar='مفتاح', hi='कुंजी', th='คีย์', vi='khóa'),
    'address': dict(zh='地址 住址 收货地址', en='address|home address', de='Anschrift', fr='adresse', es='dirección',
                    ru='адрес', ja='住所', ko='주소', ar='عنوان', hi='पता', th='ที่อยู่', vi='địa chỉ')}


def carry(r: random.Random, kind: str, value: str) -> tuple[str, int]:
    "A sentence with the value in it, and where"
    lang = r.choices(('zh', 'en', *_more), weights=(5, 5, *[.5]*len(_more)))[0]
    named = _named[kind.removesuffix('15')]
    word = r.choice(named[lang].split('|') if '|' in named[lang]
                    else named[lang].split() if lang == 'zh' else [named[lang]])
    form = r.choice({'zh': _zh, 'en': _en, **_more}[lang])
    if lang == 'en' and kind == 'plate': form = form.replace('{w}', word)
    before, _, after = form.partition('{}') if '{{' not in form else ('{"value": "', '', '"}')
    before, after = before.replace('{w}', word), after.replace('{w}', word)
    return before + value + after, len(before)


def regular(seed: int, n: int) -> list[tuple[str, str, str, int]]:
    "(kind, text, value, where), n of every kind"
    r = random.Random(seed)
    out = []
    for kind, make in KINDS.items():
        for _ in range(n):
            v = make(r)
            text, at = carry(r, kind, v)
            out.append((kind, text, v, at))
        if kind == 'key':
            for _ in range(n):
                word, v = secret(r)
                text = r.choice(('set {} here', '{}', '配置{}即可', 'x\n{}\ny')).format(word + v)
                out.append(('secret', text, v.rstrip('"\''), text.index(v)))
    return out


FULL = {**{chr(i): chr(i + 0xfee0) for i in range(33, 127)}}


def disguise(r: random.Random, kind: str, v: str) -> str:
    "The same value, written so that a plain search misses it"
    full = ''.join(FULL.get(c, c) if c.isalnum() or c in '@.-+' else c for c in v)
    zero = ''.join(c + (r.choice('\u200b\u200c\u200d\u2060\ufeff\u00ad') if r.random() < .3 and i < len(v) - 1 else '')
                   for i, c in enumerate(v))
    json_ = ''.join(f'\\u{ord(c):04x}' if (not c.isalnum() or r.random() < .3) and ord(c) < 65536 else c for c in v)
    html = ''.join(r.choice((f'&#{ord(c)};', f'&#x{ord(c):x};')) if not c.isalnum() or r.random() < .3 else c
                   for c in v)
    ways = [full, zero, json_, html]
    if v.isascii() and v.isdigit() or kind in ('phone', 'id_card', 'bank_card') and '(' not in v:
        d = ''.join(c for c in v if c.isalnum())
        if v[0] == '+' and kind == 'phone': d = '+' + d
        sep = r.choice(' -.')
        step = r.choice((1, 2, 3, 4))
        circled = ''.join('⓪①②③④⑤⑥⑦⑧⑨'[int(c)] if c.isdigit() else c for c in v)
        maths = ''.join(chr(0x1d7ce + int(c)) if c.isdigit() else c for c in v)
        if kind != 'ip': ways += [circled, maths]
        if kind != 'phone' or len(d) == 11 and d[0] == '1':
            ways += ([sep.join(d), sep.join(d[i:i + step] for i in range(0, len(d), step))] if kind != 'id_card15'
                     else [sep.join(d)])
    if kind == 'email':
        a, b = v.split('@')
        ways += [f'{a} (at) {b}', f'{a}[at]{b.replace(".", "[dot]")}', f'{a} at {b.replace(".", " dot ")}',
                 f'{a} @ {b}', f'{a}＠{b}', f'{a}%40{b}']
    if kind == 'ip' and '.' in v: ways += [v.replace('.', '[.]')]
    return r.choice(ways)


def obfuscated(seed: int, n: int) -> list[tuple[str, str, str, int]]:
    "(kind, text, value as written, where), n of every kind"
    r = random.Random(seed)
    out = []
    for kind, make in KINDS.items():
        if kind == 'address': continue
        for _ in range(n):
            v = disguise(r, kind, make(r))
            text, at = carry(r, kind, v)
            out.append((kind, text, v, at))
    return out


def _not_luhn(r: random.Random, n: int) -> str:
    body = r.choice('456') + digits(r, n - 2)
    return body + str((int(luhn_digit(body)) + r.randint(1, 9)) % 10)


def _broken_id(r: random.Random) -> str:
    v = cn_id(r).upper()
    return v[:-1] + r.choice([c for c in '0123456789X' if c != v[-1]])


NEGATIVES = {
    'version': lambda r: r.choice(('version {}', 'v{}', 'Python {} is out', '版本{}', 'upgraded to {}', '固件版本 {}',
                                   'release {}', 'numpy=={}', 'Chrome/{}')).format(
                                       '.'.join(str(r.randint(0, 40)) for _ in range(r.choice((3, 4))))),
    'order': lambda r: r.choice(('order {}', 'Order number: {}', '订单号{}', '订单编号：{}', 'invoice no. {}',
                                 '快递单号{}已发出', 'tracking number {}', '流水号：{}', 'SKU {}')).format(r.choice((
                                     digits(r, 10),
                                     f'{r.randint(2018, 2026)}{r.randint(1, 12):02}{r.randint(1, 28):02}{digits(r, 6)}',
                                     digits(r, 12), f'1{r.choice("3589")}{digits(r, 9)}'))),
    'time': lambda r: r.choice(
        ('{y}-{m:02}-{d:02} {h:02}:{n:02}:{s:02}', '{y}/{m}/{d}', '{d:02}.{m:02}.{y} {h:02}:{n:02}', '{y}年{m}月{d}日',
         '{y}{m:02}{d:02}{h:02}{n:02}{s:02}', '{y}-{m:02}-{d:02}T{h:02}:{n:02}:{s:02}.123Z', 'ts={e}', '时间戳{e}',
         '{e}123', 'from {y} to {z}', '{y}–{z}')).format(
             y=r.randint(1950, 2026), z=r.randint(2000, 2030), m=r.randint(1, 12), d=r.randint(1, 28),
             h=r.randrange(24), n=r.randrange(60), s=r.randrange(60), e=r.randint(1_500_000_000, 1_799_999_999)),
    'price': lambda r: r.choice((f'${r.randint(1, 999)},{digits(r, 3)},{digits(r, 3)}.{digits(r, 2)}',
                                 f'¥{r.randint(1, 10**11)}', f'{r.randint(10**6, 10**11):,} yuan',
                                 f'总价{r.randint(10**5, 10**10)}元',
                                 f'€ {r.randint(1, 9)}.{digits(r, 3)}.{digits(r, 3)},00',
                                 f'USD {r.randint(10**9, 10**11)}', f'{r.randint(10**6, 10**12):,}'.replace(',', ' '))),
    'digest': lambda r: r.choice(('sha256:{}', 'commit {}', 'md5 {}', '{}', 'etag "{}"')).format(
        some(r, '0123456789abcdef', r.choice((32, 40, 64)))),
    'uuid': lambda r: str(uuid.UUID(int=r.getrandbits(128))),
    'isbn': lambda r: r.choice((f'ISBN 978-{r.randint(0, 9)}-{digits(r, 3)}-{digits(r, 5)}-{r.randint(0, 9)}',
                                f'ISBN: 978{digits(r, 10)}',
                                f'书号978-7-{digits(r, 3)}-{digits(r, 5)}-{r.randint(0, 9)}',
                                f'ISBN {r.randint(0, 9)}-{digits(r, 3)}-{digits(r, 5)}-{r.randint(0, 9)}')),
    'maths': lambda r: r.choice((f'{r.randint(10**5, 10**8)} * {r.randint(10**4, 10**7)} = {r.randint(10**10, 10**11)}',
                                 f'x = {r.random()*10:.12f}', f'3.{digits(r, 14)}',
                                 f'{r.randint(1, 99)} + {r.randint(1, 99)} = {r.randint(2, 198)}',
                                 f'{r.randint(1, 9)}.{digits(r, 6)}e-{r.randint(1, 30)}',
                                 f'∑ {r.randint(1, 9)}/{r.randint(2, 9)}', f'{digits(r, 11)} bytes')),
    'code': lambda r: r.choice(('for i in range(1000000): x[i] = i', '@property\ndef name(self): return self._name',
                                'import numpy as np; np.zeros((3, 4))', 'std::vector<int> v{1, 2, 3};', 'key = value1',
                                'token = tokenizer.decode(ids)', 'password = get_password()',
                                'api_key = os.environ["API_KEY"]', 'git clone git@github.com:org/repo.git',
                                '#ff00aa 0xdeadbeef',
                                'http://localhost:8080/path', 'if (a.b.c == 127) return;', 'logo@2x.png', 'secret: str',
                                'password: your_password_here', 'a[12345678901]', '192.168.0.0/16'[:0] + 'x @ y',
                                'sk-learn and sk-image', 'bind 0.0.0.0 and 127.0.0.1')),
    'card failing': lambda r: _not_luhn(r, r.choice((16, 19))),
    'id failing': lambda r: _broken_id(r),
    'prose': lambda r: r.choice(
        (f'There were {r.randint(2, 9999)} people in {r.randint(1900, 2020)}.',
         f'地铁{r.randint(1, 20)}号线全长{r.randint(10, 90)}公里', f'他住在北京，今年{r.randint(1, 99)}岁',
         f'Room {r.randint(100, 999)}, page {r.randint(1, 999)}', f'比分{r.randint(0, 150)}-{r.randint(0, 150)}',
         f'第{r.randint(1, 50)}章第{r.randint(1, 50)}节', f'pp. {r.randint(100, 400)}-{r.randint(401, 900)}',
         f'人口{r.randint(10**5, 10**9)}人', f'{r.randint(1, 12)} Angry Men', 'see section 1.2.3.4',
         f'the score was {r.randint(1, 9)}:{r.randint(1, 9)}', f'{r.randint(1, 28)} Days Later',
         f'北纬{r.random()*90:.6f}度', f'GDP {r.randint(10**10, 10**12)}', f'坐标 {r.random()*180:.6f}, '
         f'{r.random()*90:.6f}', f'{r.randint(1, 99)}% of {r.randint(10, 99)},{digits(r, 3)}'))}


def negatives(seed: int, n: int) -> list[tuple[str, str]]:
    "(sort, text), n of every sort"
    r = random.Random(seed)
    return [(sort, r.choice(('{}', '见{}。', 'Note: {} .', '“{}”', '结果是 {} 吗', '{}')).replace('{}', make(r)))
            for sort, make in NEGATIVES.items() for _ in range(n)]
