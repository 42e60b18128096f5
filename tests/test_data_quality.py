"Languages told apart, noise taken out, real texts left in"
import gzip
import json
import random
import string

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmops.core import Invalid
from llmops.data.flow import run_steps
from llmops.data.language import language_of
from llmops.data.quality import problems
from llmops.data.recipe import check_recipe
from llmops.data.repetition import repeats

SAID = {
    'en': ('The train to the coast leaves every morning at eight.', 'Please write down what you saw and send it to me.',
           'How do plants turn sunlight into food?'),
    'de': ('Der Zug an die Küste fährt jeden Morgen um acht Uhr.', 'Bitte schreiben Sie auf, was Sie gesehen haben.',
           'Wie machen Pflanzen aus Licht Nahrung?'),
    'fr': ('Le train pour la côte part tous les matins à huit heures.',
           "Écrivez ce que vous avez vu et envoyez-le-moi.", 'Comment les plantes transforment-elles la lumière ?'),
    'es': ('El tren a la costa sale todas las mañanas a las ocho.', 'Escribe lo que viste y envíamelo, por favor.',
           '¿Cómo convierten las plantas la luz en alimento?'),
    'it': ('Il treno per la costa parte ogni mattina alle otto.', 'Per favore scrivi quello che hai visto.',
           'Come fanno le piante a trasformare la luce in cibo?'),
    'pt': ('O trem para o litoral sai todas as manhãs às oito.', 'Por favor, escreva o que você viu e me envie.',
           'Como as plantas transformam a luz em alimento?'),
    'nl': ('De trein naar de kust vertrekt elke ochtend om acht uur.', 'Schrijf alsjeblieft op wat je hebt gezien.',
           'Hoe zetten planten licht om in voedsel?'),
    'pl': ('Pociąg nad morze odjeżdża codziennie o ósmej rano.', 'Proszę napisać, co pan widział, i wysłać do mnie.',
           'Jak rośliny zamieniają światło w pożywienie?'),
    'vi': ('Chuyến tàu ra biển khởi hành mỗi sáng lúc tám giờ.', 'Hãy viết ra những gì bạn đã thấy.',
           'Cây cối biến ánh sáng thành thức ăn như thế nào?'),
    'tr': ('Sahile giden tren her sabah saat sekizde kalkıyor.', 'Lütfen gördüklerinizi yazın ve bana gönderin.',
           'Bitkiler güneş ışığını nasıl besine dönüştürür?'),
    'ru': ('Поезд к морю отправляется каждое утро в восемь.', 'Пожалуйста, запишите то, что вы видели.',
           'Как растения превращают свет в пищу?'),
    'uk': ('Потяг до моря вирушає щоранку о восьмій годині.', 'Будь ласка, запишіть те, що ви бачили.',
           'Як рослини перетворюють світло на їжу?'),
    'ar': ('يغادر القطار إلى الساحل كل صباح في الساعة الثامنة.', 'من فضلك اكتب ما رأيته وأرسله إلي.',
           'كيف تحول النباتات ضوء الشمس إلى غذاء؟'),
    'hi': ('तट के लिए ट्रेन हर सुबह आठ बजे निकलती है।', 'कृपया लिखें कि आपने क्या देखा और मुझे भेजें।',
           'पौधे धूप को भोजन में कैसे बदलते हैं?'),
    'ko': ('해안으로 가는 기차는 매일 아침 여덟 시에 출발합니다.', '본 것을 적어서 보내 주세요.',
           '식물은 빛을 어떻게 양분으로 바꿀까요?'),
    'ja': ('海岸行きの列車は毎朝八時に出発します。', '見たものを書いて送ってください。',
           '植物はどうやって光を養分に変えるのですか。'),
    'zh': ('开往海边的火车每天早上八点出发。', '请把你看到的写下来发给我。', '植物怎样把阳光变成养分？'),
    'zh-hant': ('開往海邊的火車每天早上八點出發。', '請把你看到的寫下來發給我。', '植物怎樣把陽光變成養分？'),
    'th': ('รถไฟไปชายทะเลออกทุกเช้าเวลาแปดโมง', 'กรุณาเขียนสิ่งที่คุณเห็น'),
    'el': ('Το τρένο για την ακτή φεύγει κάθε πρωί στις οκτώ.',), 'he': ('הרכבת לחוף יוצאת כל בוקר בשמונה.',)}


def test_languages_are_told_apart():
    got = {(code, t): language_of(t)[0] for code, ts in SAID.items() for t in ts}
    wrong = {k: v for k, v in got.items() if v != k[0]}
    assert len(wrong) <= 2 and not [k for k in wrong if k[0] in ('zh', 'zh-hant', 'ja', 'ko', 'en')], wrong


@pytest.mark.parametrize('text', ['', ' ', '42', '2 + 2 = 4', 'ok', '!!!', '🙂🙂', '\x00'])
def test_what_is_too_short_is_not_guessed(text): assert language_of(text)[0] == 'und'


def _step(steps, texts): return run_steps(None, check_recipe(steps), [[{'text': t} for t in texts]])


def test_languages_are_kept_and_counted():
    texts = [SAID[c][0] for c in ('en', 'zh', 'zh-hant', 'ja', 'fr')] + ['1 + 1']
    def kept(**args): return [r['text'] for r in _step([{'step': 'language', **args}], texts).kept.rows()]
    assert kept(keep=['en', 'zh']) == [texts[0], texts[1], texts[2], texts[5]]
    assert kept(keep=['zh-hans'], unsure='drop') == [texts[1]]
    assert kept(keep=['zh-TW'], unsure='drop') == [texts[2]]
    assert kept(drop=['fr', 'ja']) == [texts[0], texts[1], texts[2], texts[5]]
    r = _step([{'step': 'language', 'keep': ['en']}], texts).report[0]
    assert (r['figures'], r['why']) == ({'en': 1, 'zh': 1, 'zh-hant': 1, 'ja': 1, 'fr': 1, 'und': 1},
                                        {f'the language is {c}': 1 for c in ('fr', 'ja', 'zh', 'zh-hant')})


@pytest.mark.parametrize('steps, words', [([{'step': 'language', 'keep': ['klingon']}], 'no language'),
                                          ([{'step': 'language', 'keep': ['en'], 'drop': ['en']}],
                                           'in keep and in drop'), ([{'step': 'quality', 'letters': 1.5}], 'share'),
                                          ([{'step': 'repetition', 'scale': 0}], 'scale')])
def test_wrong_limits_are_refused(steps, words):
    with pytest.raises(Invalid, match=words): _step(steps, ['a'])


R = random.Random(7)
NOISE = {
    'letters at random': ' '.join(''.join(R.choices(string.ascii_lowercase, k=R.randint(2, 9))) for _ in range(80)),
    'symbols': ''.join(R.choices('!@#$%^&*()_+-=[]{};:,.<>/?|~', k=150)),
    'numbers': ' '.join(str(R.randint(0, 9999)) for _ in range(80)),
    'base64': ''.join(R.choices(string.ascii_letters + string.digits + '+/', k=500)),
    'menu': '\n'.join('Home,About,Login,Register,Contact us,FAQ,Blog,Shop,Cart,Help,Jobs,News,Sports'.split(',')),
    'ellipses': '\n'.join(f'Read more about the {w} …' for w in 'sea sky sun moon wind rain snow fog ice'.split()),
    'broken encoding': 'Le cafÃ© Ã©tait fermÃ©, alors nous sommes allÃ©s Ã  la plage.',
    'replaced': 'ab\ufffd\ufffd cd\ufffd ef\ufffd\ufffd',
    'filler': 'Lorem ipsum dolor sit amet, consectetur adipiscing elit.',
    'characters at random': ''.join(chr(R.randint(0x4e00, 0x9fa5)) for _ in range(300))}
AGAIN = {'spam': 'buy cheap pills now ' * 40, 'one letter': 'a' * 200, 'one character': '哈' * 100,
         'sentence': '今天天气很好我们去公园。' * 20, 'lines': 'The same line again\n' * 20,
         'paragraphs': 'One paragraph of text that is here.\n\n' * 8, 'exclamation': '!' * 80}


@pytest.mark.parametrize('name', NOISE)
def test_noise_goes(name):
    r = _step(['quality'], [NOISE[name], 'A sentence that says something.']).report[0]
    assert r['removed'] == 1 and r['examples'][0]['detail'], r


@pytest.mark.parametrize('name', AGAIN)
def test_repetition_goes_with_its_figure(name):
    r = _step(['repetition'], [AGAIN[name], 'A sentence that says something.']).report[0]
    assert r['removed'] == 1 and '%' in r['examples'][0]['detail'], r


@pytest.mark.parametrize('text', [t for ts in SAID.values() for t in ts] + [
    'ok', '42', 'print("hi")', '| a | b |\n|---|---|\n| 1 | 2 |', '1. one\n2. two\n3. three', 'x' * 30, '好的',
    'https://example.org/a/long/path/with/many/parts/and/names/in/it?and=a&query=string&of=some&length=too'])
def test_sentences_of_all_languages_stay(text):
    assert _step(['quality', 'repetition'], [text]).report[0]['removed'] == 0


def test_most_real_texts_stay(data):
    def alpaca(f):
        return ['\n'.join((r['instruction'], r['input'], r['output']))
                for r in json.loads((data/'llamafactory'/f).read_text('utf-8'))]
    for texts, most in ((alpaca('alpaca_en_demo.json'), .03), (alpaca('alpaca_zh_demo.json'), .04), (
            [json.loads(s)['text'] for s in (data/'llamafactory'/'c4_demo.jsonl').read_text('utf-8').splitlines()],
            .05), ([t for t in (data/'llamafactory'/'wiki_demo.txt').read_text('utf-8').split('\n') if t.strip()], .05),
                        ([json.loads(s)['prompt'] for s in gzip.open(data/'humaneval'/'HumanEval.jsonl.gz')], .03)):
        gone = _step(['quality', 'repetition'], texts).report
        assert sum(r['removed'] for r in gone) <= most*len(texts), gone
    assert sum(language_of(t)[0] == 'en' for t in alpaca('alpaca_en_demo.json')) >= 980
    assert sum(language_of(t)[0][:2] == 'zh' for t in alpaca('alpaca_zh_demo.json')) >= 950


def test_published_limits_can_be_asked_for():
    "Gopher's own limits take out what the milder ones leave"
    again, words = 'now the old cat sat down on the warm mat near our house ', [f'w{n}' for n in range(60)]
    text = again + ' '.join(words) + ' ' + again
    assert (len(_step([{'step': 'repetition', 'scale': 1}], [text]).kept) == 0
            < len(_step([{'step': 'repetition', 'scale': 4}], [text]).kept))
    assert len(_step([{'step': 'quality', 'min_words': 50}], ['Short but fine.']).kept) == 0


@settings(max_examples=300, deadline=None)
@given(st.one_of(st.text(max_size=400),
                 st.lists(st.sampled_from(list(NOISE.values()) + list(AGAIN.values())), max_size=2).map('\n'.join)))
def test_any_text_is_measured(text):
    code, p = language_of(text)
    assert code and 0 <= p <= 1
    for what, figure, limit in problems(text): assert what.format(figure, limit)
    for _, words, figure, limit in repeats(text): assert words and figure > limit
